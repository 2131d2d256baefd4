// The cloakroom of the opera, on HTTP port 8080.
'use strict';

const fs = require('fs');
const express = require('express');

const app = express();
const COATS = { 101: 'a fur coat', 102: 'two umbrellas', 103: 'a violin case', 104: 'your coat' };

// What is on a hook.
function hanging(number) {
  if (number === 7) {
    const note = fs.readFileSync('/answers/flag', 'ascii');
    return `the director's coat, a note in its pocket: ${note}`;
  }
  return COATS[number] || 'nothing';
}

app.get('/healthz', (request, response) => response.send('ok'));

app.get('/', (request, response) => {
  response.send('<h1>Cloakroom</h1><p>Your ticket: <a href="/hook?number=104">104</a></p>');
});

app.get('/hook', (request, response) => {
  const number = Number.parseInt(request.query.number, 10);
  if (Number.isNaN(number)) {
    response.status(404).send('no such hook');
    return;
  }
  response.send(`<p>On hook ${number}: ${hanging(number)}</p>`);
});

app.listen(8080);
