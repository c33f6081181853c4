// oidc-provider for a test: `node oidc-provider.mjs CLIENT_ID CLIENT_SECRET CALLBACK`. It insists on PKCE, and lets in whoever gives a name, which is
// the address at example.com. Prints its issuer as a line of JSON, and ends when stdin does.
import { createServer } from 'node:http'
import { pathToFileURL } from 'node:url'

const { default: Provider } = await import(pathToFileURL(process.cwd() + '/node_modules/oidc-provider/lib/index.js'))
const [client_id, client_secret, callback] = process.argv.slice(2)

const server = createServer()
await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
const issuer = `http://127.0.0.1:${server.address().port}`
const provider = new Provider(issuer, {
  clients: [{ client_id, client_secret, redirect_uris: [callback] }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  pkce: { required: () => true },
  cookies: { keys: ['a key of the tests'] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, name: id }),
  }),
})
server.on('request', provider.callback())
console.log(JSON.stringify({ issuer }))
process.stdin.resume().on('end', () => process.exit(0))
