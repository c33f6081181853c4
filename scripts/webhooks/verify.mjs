// Says of each request whether the official library accepts it: `node verify.mjs cases.json`.
import { readFileSync } from 'node:fs'
import { Webhook } from 'standardwebhooks'

for (const { secret, headers, body } of JSON.parse(readFileSync(process.argv[2], 'utf8'))) {
  let verdict = 'accepted'
  try {
    new Webhook(secret).verify(Buffer.from(body, 'base64').toString('utf8'), headers)
  } catch {
    verdict = 'refused'
  }
  console.log(verdict)
}
