# The cloakroom of the opera, on HTTP port 8080.
require 'sinatra'

set :bind, '0.0.0.0'
set :port, 8080
set :server, 'webrick'

COATS = { 101 => 'a fur coat', 102 => 'two umbrellas', 103 => 'a violin case', 104 => 'your coat' }.freeze

# What is on a hook.
def hanging(number)
  return COATS.fetch(number, 'nothing') unless number == 7

  "the director's coat, a note in its pocket: #{File.read('/answers/flag')}"
end

get('/healthz') { 'ok' }

get '/' do
  '<h1>Cloakroom</h1><p>Your ticket: <a href="/hook?number=104">104</a></p>'
end

get '/hook' do
  number = Integer(params['number'].to_s, 10, exception: false)
  halt 404, 'no such hook' unless number
  "<p>On hook #{number}: #{hanging(number)}</p>"
end
