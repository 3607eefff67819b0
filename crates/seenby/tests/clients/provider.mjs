// An identity provider that others wrote and that is certified (npm `oidc-provider`), set up in the two shapes of an outside issuer:
// one whose tokens look like Entra ID's, and plain OpenID Connect. It decides about clients, scopes, pages, expiry and keys;
// nothing here signs a token or checks one. Its own pages for development let anybody sign in, by any name.
//
// It prints its URL. A line on standard input is an order: `rotate` signs with a new key and shows the one before too, `drop` shows
// the newest alone; it is answered with `done` when it holds. It ends with its input.

import { createRequire } from "node:module";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import fs from "node:fs";
import https from "node:https";
import path from "node:path";
import readline from "node:readline";
import { pathToFileURL } from "node:url";

const given = JSON.parse(process.argv[2]);
const resolve = createRequire(path.join(given.packages, "package.json")).resolve;
const { default: Provider } = await import(pathToFileURL(resolve("oidc-provider")));

// The newest first: it signs.
const keys = { RS256: [], ES256: [] };

function addKeys() {
  for (const [alg, kind, options] of [["RS256", "rsa", { modulusLength: 2048 }], ["ES256", "ec", { namedCurve: "P-256" }]]) {
    const { privateKey } = generateKeyPairSync(kind, options);
    keys[alg].unshift({ ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg });
  }
}

// What both shapes have: tokens are JWT for the resource that was asked for.
function settings(alg, resource, scopes) {
  return {
    jwks: { keys: keys[alg] },
    scopes: ["openid", "offline_access", ...scopes],
    clientDefaults: { id_token_signed_response_alg: alg },
    enabledJWA: { idTokenSigningAlgValues: [alg] },
    pkce: { required: () => true },
    cookies: { keys: [randomUUID()] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: resource,
        useGrantedResource: () => true,
        getResourceServerInfo: (_context, audience) => ({
          scope: scopes.join(" "),
          audience,
          accessTokenFormat: "jwt",
          accessTokenTTL: 3600,
          jwt: { sign: { alg } },
        }),
      },
    },
  };
}

const program = (id) => ({
  client_id: id,
  client_secret: given.secret,
  redirect_uris: [],
  response_types: [],
  grant_types: ["client_credentials"],
  token_endpoint_auth_method: "client_secret_post",
});

function entra(url) {
  const { tenant, audience } = given;
  const other = "https://graph.example";
  const scopes = [`${audience}/.default`, `${other}/.default`];
  return new Provider(`${url}/${tenant}/v2.0`, {
    ...settings("RS256", ({ oidc }) => oidc.params.scope.replace("/.default", ""), scopes),
    clients: [program(given.reader), program(given.stranger)],
    routes: { token: "/oauth2/v2.0/token", jwks: "/discovery/v2.0/keys", authorization: "/oauth2/v2.0/authorize" },
    extraTokenClaims: (_context, { clientId }) => ({
      tid: tenant,
      azp: clientId,
      oid: given.oid,
      sub: given.oid,
      ver: "2.0",
      idtyp: "app",
      roles: clientId === given.reader ? ["Ip.Read.All"] : [],
    }),
  });
}

function plain(url) {
  return new Provider(`${url}/plain`, {
    ...settings("ES256", () => given.own_url, ["Ip.Read.All"]),
    clients: [
      program(given.reader),
      {
        client_id: "hunting",
        application_type: "native",
        redirect_uris: [given.back],
        response_types: ["code"],
        grant_types: ["authorization_code", "refresh_token"],
        token_endpoint_auth_method: "none",
      },
    ],
  });
}

let providers;

// A provider takes its keys when it is made. Programs' tokens and the keys are all that outlives it.
function makeProviders() {
  const url = `https://127.0.0.1:${server.address().port}`;
  providers = [[`/${given.tenant}/v2.0`, entra(url)], ["/plain", plain(url)]].map(([prefix, provider]) => {
    provider.proxy = true;
    return [prefix, provider.callback()];
  });
  return url;
}

const server = https.createServer({ key: fs.readFileSync(given.key), cert: fs.readFileSync(given.certificate) }, (request, response) => {
  const [prefix, answer] = providers.find(([prefix]) => request.url.startsWith(`${prefix}/`)) ?? [];
  if (!answer) {
    response.writeHead(404).end();
    return;
  }
  // The provider finds out by these where it is mounted.
  request.originalUrl = request.url;
  request.url = request.url.slice(prefix.length);
  request.headers["x-forwarded-proto"] = "https";
  answer(request, response);
});

addKeys();
server.listen(0, "127.0.0.1", () => {
  console.log(makeProviders());
  readline
    .createInterface({ input: process.stdin })
    .on("line", (order) => {
      addKeys();
      if (order === "drop") for (const kept of Object.values(keys)) kept.length = 1;
      makeProviders();
      console.log("done");
    })
    .on("close", () => process.exit(0));
});
