// A certified OpenID provider on loopback, for the test that the gateway accepts tokens
// of a provider that nobody here wrote.
//
//     node oidc_provider.mjs MODULES PORT AUDIENCE REDIRECT CONSOLE
//
// Prints `ready ISSUER` once it listens. Any login passes; a password `weak` signs in without a
// second factor, any other with one. CONSOLE is the address to which the gateway's console has
// browsers sent back.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, port, audience, redirect, consoleCallback] = process.argv.slice(2);
if (!consoleCallback) {
  console.error('usage: node oidc_provider.mjs MODULES PORT AUDIENCE REDIRECT CONSOLE');
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

const STRONG = 'urn:example:mfa';
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
    {
      client_id: 'vaultgate-console', client_secret: 'console-secret-for-a-loopback-test',
      grant_types: ['authorization_code'], redirect_uris: [consoleCallback], response_types: ['code'],
    },
  ],
  acrValues: [STRONG],
  findAccount: async (_, sub) => ({ accountId: sub, claims: async () => ({ sub }) }),
  pkce: { required: () => true },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: false },
    claimsParameter: { enabled: true },
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
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  extraTokenClaims: async (_, token) => ({
    roles: ['backup.reader'],
    ...(token.aud === 'api://vaultgate-console' && {
      groups: token.accountId?.startsWith('soc') ? ['soc'] : ['backup-approvers'],
    }),
  }),
  scopes: ['openid', 'backup'],
});

// --- the pages on which people sign in ------------------------------------------------

const page = (response, uid, fields) => {
  response.setHeader('content-type', 'text/html');
  response.end(`<!doctype html><form method="post" action="/interaction/${uid}">${fields}<button>go on</button></form>`);
};

const form = async (request) => {
  let text = '';
  for await (const piece of request) text += piece;
  return new URLSearchParams(text);
};

const consent = async ({ params, prompt, session, grantId }) => {
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '));
  if (prompt.details.missingOIDCClaims) grant.addOIDCClaims(prompt.details.missingOIDCClaims);
  for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  return { consent: { grantId: await grant.save() } };
};

const interact = async (request, response) => {
  const details = await provider.interactionDetails(request, response);
  if (request.method !== 'POST') {
    const login = '<input name="login"><input name="password" type="password">';
    page(response, details.uid, details.prompt.name === 'login' ? login : '');
    return;
  }
  if (details.prompt.name !== 'login') {
    await provider.interactionFinished(request, response, await consent(details));
    return;
  }
  const given = await form(request);
  const acr = given.get('password') === 'weak' ? 'urn:example:pwd' : STRONG;
  const login = { accountId: given.get('login'), acr };
  await provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false });
};

const ours = provider.callback();
createServer((request, response) => {
  if (!request.url.startsWith('/interaction/')) {
    ours(request, response);
    return;
  }
  interact(request, response).catch((error) => {
    response.statusCode = 400;
    response.end(String(error));
  });
}).listen(Number(port), '127.0.0.1', () => console.log(`ready ${issuer}`));
