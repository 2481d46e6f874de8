// Lists the images of an OpenStack project whose API only admits the jump host.
//
//   source openrc; node openstack.mjs user@jumphost
//
// OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_ID and OS_USER_DOMAIN_NAME are read.
import { openTunnel } from 'tunnel-vpn';
import { Agent, fetch } from 'undici';

const [remote] = process.argv.slice(2);
const { OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_ID, OS_USER_DOMAIN_NAME } = process.env;

const tunnel = await openTunnel({ remote });
const dispatcher = new Agent({ connect: tunnel.undiciConnect() });

async function ask(url, init) {
  const answer = await fetch(url, { ...init, dispatcher });
  if (!answer.ok) throw new Error(`${url} answers ${answer.status}`);
  return { headers: answer.headers, body: await answer.json() };
}

try {
  const user = {
    name: OS_USERNAME,
    password: OS_PASSWORD,
    domain: { name: OS_USER_DOMAIN_NAME },
  };
  const { headers, body } = await ask(`${OS_AUTH_URL}/auth/tokens`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({
      auth: {
        identity: { methods: ['password'], password: { user } },
        scope: { project: { id: OS_PROJECT_ID } },
      },
    }),
  });
  const service = body.token.catalog.find(({ type }) => type === 'image');
  const { url } = service.endpoints.find((endpoint) => endpoint.interface === 'public');
  const list = await ask(`${url.replace(/\/(v2)?\/?$/, '')}/v2/images`, {
    headers: { 'X-Auth-Token': headers.get('X-Subject-Token') },
  });
  for (const { id, name } of list.body.images) process.stdout.write(`${id} ${name}\n`);
} finally {
  await dispatcher.close();
  await tunnel.close();
}
