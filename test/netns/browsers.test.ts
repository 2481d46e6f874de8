/**
 * A real browser that is configured by /proxy.pac: what goes through the tunnel, what goes
 * directly, and that no page reads where the tunnel leads.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  API1,
  API1_6,
  API1_NAME,
  API2,
  CLIENT4,
  HARDENED_PERMIT_OPEN,
  JUMPHOST_PRIVATE4,
  JUMPHOST_PRIVATE6,
  PRIVATE4,
  PRIVATE6,
} from '../support/addresses.ts';
import { makeCertificates } from '../support/certificates.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const WEBSERVER = fileURLToPath(new URL('../support/webserver.js', import.meta.url));
/** The peers that a server sees of what went through the tunnel. */
const FROM_JUMPHOST = new RegExp(`"peer":"(${JUMPHOST_PRIVATE4}|${JUMPHOST_PRIVATE6})"`);
/** An address of the uplink, which the client reaches without any tunnel. */
const UPLINK = '198.51.100.1';
/** A name that is no target. The browser itself knows its address. */
const OTHER_NAME = 'other.example';
const REBOUND_NAME = 'rebound.example';
const PAGE_TIMEOUT_MS = 30_000;

/** A page that tries to read `url` in every way that a page has. */
const spyingOn = (url: string): string => `<!doctype html><body><script>
  var seen = [];
  function note(how) { return function () { seen.push(how); }; }
</script>
<script src="${url}" onload="note('ran')()" onerror="note('blocked')()"></script>
<script>
  seen.push(typeof FindProxyForURL, typeof tunnelTargets, typeof control);
  var request = new XMLHttpRequest();
  request.open('GET', '${url}', false);
  try { request.send(); seen.push('read ' + request.responseText.length); }
  catch (error) { seen.push('unread'); }
  document.body.textContent = 'seen: ' + seen.join(' ') + '.';
</script>`;

describe('a browser with /proxy.pac', {
  skip: labUnavailable('chromium', 'tcpdump', 'openssl'),
  timeout: 180_000,
}, () => {
  let lab: Lab;
  /** Where the proxy listens for its own user, and the address of the script. */
  let port: string;
  let script: string;
  let proxy: Child;
  const running: Child[] = [];

  before(async () => {
    const permitOpen = [
      ...HARDENED_PERMIT_OPEN,
      ...[`${API1_NAME}:80`, `${API1_NAME}:443`, `${API1}:443`],
    ];
    lab = await Lab.create({ sshd: { variant: 'hardened', permitOpen } });
    const files = join(lab.directory, 'web');
    mkdirSync(join(files, 'www'), { recursive: true });
    await makeCertificates(files, [`DNS:${API1_NAME}`, `IP:${API1}`]);
    writeFileSync(join(files, 'www', 'hello'), 'hello over TLS\n');
    const web = await lab.api1.spawn([process.execPath, WEBSERVER, files]);
    running.push(web);
    await web.waitForLine(/ready\n/);
    [proxy, port] = await startProxy(
      ...['--listen', '127.0.0.1:0', '-x', `${API2}/32`],
      ...[PRIVATE4, PRIVATE6, '*.lab.example'],
    );
    [, script = ''] = await proxy.waitForLine(/for browsers: (\S+)\n/);
  });
  after(async () => {
    for (const child of running.reverse())
      await child.stop('SIGTERM').catch(() => child.kill('SIGKILL'));
    await lab?.close();
  });

  async function startProxy(...args: string[]): Promise<[Child, string]> {
    const child = await lab.client.spawn([process.execPath, MAIN, 'proxy', '-r', REMOTE, ...args]);
    running.push(child);
    await child.waitForLine(/tunnel: ready\n/, 20_000);
    const [, at = ''] = await child.waitForLine(/proxy at \S+:(\d+)/);
    return [child, at];
  }

  /** The page at `url` when it has loaded, or why it hasn't, in a browser that was never used. */
  async function open(url: string, pac = script): Promise<string> {
    const profile = mkdtempSync(join(lab.directory, 'profile-'));
    const { stdout, stderr } = await lab.client.exec(
      [
        ...[
          'chromium',
          '--headless',
          '--no-sandbox',
          '--disable-gpu',
          `--user-data-dir=${profile}`,
        ],
        // Nothing of the browser's own: only the page is to be seen.
        ...['--no-first-run', '--disable-background-networking', '--disable-component-update'],
        '--ignore-certificate-errors',
        // Its own protection of this machine's services would hide what the proxy does.
        '--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessForNavigations',
        `--host-resolver-rules=MAP ${OTHER_NAME} ${UPLINK},MAP ${REBOUND_NAME} 127.0.0.1`,
        `--proxy-pac-url=${pac}`,
        ...['--dump-dom', url],
      ],
      { timeout: PAGE_TIMEOUT_MS },
    );
    const [failure = ''] = /Page load failed: \S+/.exec(stderr) ?? [];
    assert.notEqual(stdout + failure, '', stderr);
    return stdout + failure;
  }

  /** Serves `page` to everybody in a namespace, and under `/peer` the address of the client. */
  async function serve(namespace: Lab['client'], at: string, page: string): Promise<void> {
    const program = `require('http').createServer((request, response) => {
      const peer = 'peer ' + request.socket.remoteAddress + '.';
      response.setHeader('Content-Type', 'text/html');
      response.end(request.url === '/peer' ? peer : process.argv[1]);
    }).listen(8080, '${at}', () => console.log('ready'))`;
    const server = await namespace.spawn([process.execPath, '-e', program, page]);
    running.push(server);
    await server.waitForLine(/ready\n/);
  }

  it('reaches targets by name through the tunnel, and asks nobody here for the name', async () => {
    const packets = await lab.client.capture('uplink', 'port 53 or port 5353 or port 5355');
    assert.match(await open(`http://${API1_NAME}/`), FROM_JUMPHOST);
    assert.match(await open(`http://${API1_NAME.toUpperCase()}./`), FROM_JUMPHOST);
    assert.match(await open(`https://${API1_NAME}/hello`), /hello over TLS/);
    const queries = (await packets.stop()).filter(({ summary }) => summary.includes('lab.example'));
    assert.deepEqual(queries, []);
  });

  it('reaches targets by address', async () => {
    for (const host of [API1, `[${API1_6}]`, `[::ffff:${API1}]`])
      assert.match(await open(`http://${host}/`), FROM_JUMPHOST, host);
    assert.match(await open(`https://${API1}/hello`), /hello over TLS/);
  });

  it('connects to the rest directly, and to what is excluded', async () => {
    await serve(lab.uplink, UPLINK, '');
    for (const host of [UPLINK, OTHER_NAME])
      assert.match(await open(`http://${host}:8080/peer`), new RegExp(`peer ${CLIENT4}\\.`), host);
    assert.match(await open(`http://${API2}/`), /ERR_ADDRESS_UNREACHABLE/);
  });

  it('shows no page where the tunnel leads', async () => {
    const [, open4] = await startProxy(
      ...['--listen', `${CLIENT4}:0`, '--allow-remote-clients', PRIVATE4],
    );
    // Fetch metadata is sent to loopback only; elsewhere the fields of the answer must do.
    const scripts = [`http://127.0.0.1:${port}/proxy.pac`, `http://${CLIENT4}:${open4}/proxy.pac`];
    for (const [index, url] of scripts.entries()) {
      const page = join(lab.directory, `page-${index}.html`);
      writeFileSync(page, spyingOn(url));
      const address = `127.0.0.${index + 10}`;
      await serve(lab.client, address, spyingOn(url));
      const seen = await open(`http://${address}:8080/`);
      assert.match(seen, /seen: blocked undefined undefined undefined unread\./, url);
    }
    // The page does read what it may.
    await serve(lab.client, '127.0.0.20', 'var control = 1;');
    const allowed = spyingOn('http://127.0.0.20:8080/');
    await serve(lab.client, '127.0.0.21', allowed);
    assert.match(
      await open('http://127.0.0.21:8080/'),
      /seen: ran undefined undefined number unread\./,
    );
    // A page that has had a name of its own resolved to the proxy's address.
    const rebound = await open(`http://${REBOUND_NAME}:${port}/proxy.pac`);
    assert.match(rebound, /is asked for under a name/);
  });
});
