// Fetches a page of a server that only the jump host reaches, and prints it.
//
//   node fetch.mjs user@jumphost http://intranet.example/
//
// undici is yours: npm install undici. The tunnel brings no HTTP client of its own.
import { openTunnel } from 'tunnel-vpn';
import { Agent, fetch } from 'undici';

const [remote, url] = process.argv.slice(2);

const tunnel = await openTunnel({ remote });
const dispatcher = new Agent({ connect: tunnel.undiciConnect() });
try {
  const answer = await fetch(url, { dispatcher });
  process.stdout.write(await answer.text());
} finally {
  await dispatcher.close();
  await tunnel.close();
}
