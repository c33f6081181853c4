// oauth2-mock-server for a test: prints its issuer as a line of JSON, and ends when stdin does.
import { createRequire } from 'node:module'

const require = createRequire(process.cwd() + '/')
const { OAuth2Server, Events } = require('oauth2-mock-server')

const server = new OAuth2Server()
await server.issuer.keys.generate('RS256')
server.service.on(Events.BeforeTokenSigning, (token) => {
  Object.assign(token.payload, { email: 'johndoe@example.com', email_verified: true, name: 'John Doe' })
})
await server.start(0, 'localhost')
console.log(JSON.stringify({ issuer: server.issuer.url }))
process.stdin.resume().on('end', () => process.exit(0))
