// Asks a service for its feature flags with OpenFeature's own SDK and provider, and prints what it hears as one line of JSON.
// Arguments: the service's base URL, a token or API key, the user's id ("" for none).

import { createRequire } from 'node:module'

const require = createRequire(`${process.cwd()}/`)
const { OpenFeature } = require('@openfeature/server-sdk')
const { OFREPProvider } = require('@openfeature/ofrep-provider')
const { OFREPApi } = require('@openfeature/ofrep-core')

const [baseUrl, token, targetingKey] = process.argv.slice(2)
const context = targetingKey ? { targetingKey } : {}
const headers = [['Authorization', `Bearer ${token}`]]
const essentials = ({ value, variant, reason, errorCode }) => ({ value, variant, reason, errorCode })

await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl, headers }))
const client = OpenFeature.getClient()
const heard = {
  dashboard: essentials(await client.getBooleanDetails('new_dashboard', false, context)),
  color: essentials(await client.getStringDetails('color', 'none', context)),
  page: essentials(await client.getNumberDetails('page_size', -1, context)),
  theme: essentials(await client.getObjectDetails('theme', {}, context)),
  off: essentials(await client.getBooleanDetails('switched_off', true, context)),
  absent: essentials(await client.getBooleanDetails('nobody_set_it', true, context)),
  mistyped: essentials(await client.getNumberDetails('color', -1, context)),
}

const api = new OFREPApi(baseUrl)
const all = await api.postBulkEvaluateFlags({ context }, { headers })
const etag = all.httpResponse.headers.get('etag')
heard.all = all.value.flags.map(flag => flag.key)
heard.again = (await api.postBulkEvaluateFlags({ context }, { headers: [...headers, ['If-None-Match', etag]] })).httpStatus
const wrong = await api.postEvaluateFlags('color', { context: { targetingKey: 7 } }, { headers })
heard.wrong = [wrong.httpStatus, wrong.value.errorCode, wrong.value.key]
console.log(JSON.stringify(heard))
process.exit(0)
