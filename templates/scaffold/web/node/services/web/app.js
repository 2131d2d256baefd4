// The cloakroom of the opera, on HTTP port 8080.
'use strict';

const fs = require('fs');
const http = require('http');

const COATS = { 101: 'a fur coat', 102: 'two umbrellas', 103: 'a violin case', 104: 'your coat' };
const FRONT = '<h1>Cloakroom</h1><p>Your ticket: <a href="/hook?number=104">104</a></p>';

// What is on a hook.
function hanging(number) {
  if (number === 7) {
    const note = fs.readFileSync('/answers/flag', 'ascii');
    return `the director's coat, a note in its pocket: ${note}`;
  }
  return COATS[number] || 'nothing';
}

// Status and page for a request.
function page(url) {
  const number = url.searchParams.get('number') || '';
  if (url.pathname === '/healthz') return [200, 'ok'];
  if (url.pathname === '/') return [200, FRONT];
  if (url.pathname === '/hook' && /^[0-9]{1,8}$/.test(number)) {
    return [200, `<p>On hook ${Number(number)}: ${hanging(Number(number))}</p>`];
  }
  return [404, 'no such hook'];
}

function serve(request, response) {
  let status = 400;
  let text = 'no such page';
  try {
    [status, text] = page(new URL(request.url, 'http://cloakroom'));
  } catch (error) {
    console.error(error.message);
  }
  response.writeHead(status, { 'Content-Type': 'text/html; charset=utf-8' });
  response.end(text);
}

http.createServer(serve).listen(8080);
