# Clients of the AWS SDK for Ruby that a test controls.
#
# Reads one JSON command per line and answers each with one line; sdk_clients/go/main.go lists the commands. One more,
# "create_with_provider", creates a client with an explicit provider of credentials in place of the default chain.

require "json"
require "aws-sdk-core"

# The wall clock, by which the SDK knows the age of what it holds, can be advanced. Net::HTTP's timeouts run by the
# monotonic clock.
class << Time
  alias real_now now
  attr_accessor :ahead

  def now(...)
    real_now(...) + ahead
  end
end
Time.ahead = 0

# It waits seconds before it reads a document a second time that it could not read.
def Kernel.sleep(*) = 0

# The last handler: it keeps the signature in place of sending the request.
class Unsent < StandardError; end

class Keep < Seahorse::Client::Handler
  def call(context)
    raise Unsent, context.http_request.headers["authorization"].to_s
  end
end

clients = {}

def create(**options)
  # It waits a second for an answer of IMDS by default, and asks several times.
  client = Aws::STS::Client.new(region: "eu-west-1", retry_limit: 0, instance_profile_credentials_timeout: 0.5, **options)
  client.handlers.add(Keep, step: :send)
  client
end

def sign(client)
  client.get_caller_identity
  raise "the request was sent"
rescue Unsent => unsent
  key = unsent.message[%r{Credential=([^/]+)/.*Signature=\h+}, 1]
  key ? { key: key } : { error: "unsigned: #{unsent.message.inspect}" }
end

# What the block returns, or the error under this key.
def unless_raised(key)
  yield
rescue StandardError => error
  { key => error.class.name }
end

STDOUT.sync = true
STDIN.each_line do |line|
  command = JSON.parse(line)
  name = command["client"]
  answer =
    case command["do"]
    when "create"
      unless_raised(:raised) do
        clients[name] = create
        { created: true }
      end
    when "create_with_provider"
      unless_raised(:raised) do
        clients[name] = create(credentials: Aws::InstanceProfileCredentials.new)
        { created: true }
      end
    when "sign" then unless_raised(:error) { sign(clients.fetch(name)) }
    when "advance"
      Time.ahead += command["seconds"]
      {}
    when "version" then { version: Aws::CORE_GEM_VERSION }
    else raise ArgumentError, command["do"]
    end
  puts JSON.generate(answer)
end
