// A certified OpenID provider on loopback, for the test that the gateway accepts tokens
// of a provider that nobody here wrote.
//
//     node oidc_provider.mjs MODULES PORT AUDIENCE REDIRECT
//
// Prints `ready ISSUER` once it listens. Development interactions are on: any login passes.

import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, port, audience, redirect] = process.argv.slice(2);
if (!redirect) {
  console.error('usage: node oidc_provider.mjs MODULES PORT AUDIENCE REDIRECT');
  process.exit(2);
}

// The package lies in the cache, not beside this file.
const home = join(modules, 'node_modules', 'oidc-provider');
const { main, exports: named } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8'));
const entry = main ?? named?.['.']?.default ?? named?.default ?? named;
const { Provider } = await import(pathToFileURL(join(home, entry)));

const key = (kind, options, kid, alg) => {
  const { privateKey } = generateKeyPairSync(kind, options);
  return { ...privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' };
};

const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  jwks: {
    keys: [
      key('ec', { namedCurve: 'P-256' }, 'es-1', 'ES256'),
      key('rsa', { modulusLength: 2048 }, 'rs-1', 'RS256'),
    ],
  },
  clients: [
    {
      client_id: 'batch', client_secret: 'batch-secret-for-a-loopback-test',
      grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
    },
    {
      client_id: 'terminal', token_endpoint_auth_method: 'none', application_type: 'native',
      grant_types: [DEVICE], redirect_uris: [], response_types: [],
    },
    {
      client_id: 'console', token_endpoint_auth_method: 'none', application_type: 'native',
      grant_types: ['authorization_code'], redirect_uris: [redirect], response_types: ['code'],
    },
  ],
  findAccount: async (_, sub) => ({ accountId: sub, claims: async () => ({ sub }) }),
  pkce: { required: () => true },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({
        scope: 'backup', audience: resource, accessTokenTTL: 300, accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  extraTokenClaims: async () => ({ roles: ['backup.reader'] }),
  scopes: ['openid', 'backup'],
});
provider.listen(Number(port), '127.0.0.1', () => console.log(`ready ${issuer}`));
