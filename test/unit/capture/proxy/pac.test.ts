/** Who gets /proxy.pac, and who doesn't. */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { MAX_PAC_BYTES } from '../../../../src/capture/proxy/pac.ts';
import type { WritePac } from '../../../../src/capture/proxy/request.ts';
import { startProxy, type TestProxy, type TestProxyOptions } from '../../../support/proxy.ts';

const SCRIPT = 'function FindProxyForURL() { return "DIRECT"; }\n';
/** Says where it thinks that the proxy is. */
const write: WritePac = (proxy) => `// ${proxy}\n${SCRIPT}`;

interface Answer {
  readonly status: number;
  readonly fields: Readonly<Record<string, string>>;
  readonly body: string;
}

describe('/proxy.pac', { timeout: 20_000 }, () => {
  let proxy: TestProxy;
  const start = async (options: TestProxyOptions = {}): Promise<void> => {
    proxy = await startProxy({ pac: write, ...options });
  };
  afterEach(() => proxy.close());

  /** One request as a client writes it; `fields` come after Host. */
  const ask = async (
    fields: readonly string[] = [],
    { line = 'GET /proxy.pac HTTP/1.1', host = `127.0.0.1:${proxy.port}` } = {},
  ): Promise<Answer> => {
    const client = await proxy.open();
    const head = [line, ...(host === '' ? [] : [`Host: ${host}`]), ...fields, 'Connection: close'];
    client.send(`${head.join('\r\n')}\r\n\r\n`);
    const [answer = '', ...rest] = (await client.rest()).split('\r\n\r\n');
    const [status = '', ...lines] = answer.split('\r\n');
    return {
      status: Number(status.split(' ')[1]),
      fields: Object.fromEntries(
        lines.map((text) => {
          const colon = text.indexOf(':');
          return [text.slice(0, colon).toLowerCase(), text.slice(colon + 1).trim()];
        }),
      ),
      body: rest.join('\r\n\r\n'),
    };
  };

  it('is a script that names the proxy, and that no page may run or keep', async () => {
    await start();
    const { status, fields, body } = await ask();
    assert.equal(status, 200);
    assert.equal(body, write(`127.0.0.1:${proxy.port}`));
    const { date, connection, ...others } = fields;
    assert.deepEqual(others, {
      'content-type': 'application/x-ns-proxy-autoconfig',
      'content-length': String(body.length),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
    });
    assert.equal(proxy.counters.get('tunnel_proxy_pac_total'), 1);
    assert.equal(proxy.counters.get('tunnel_proxy_requests_total'), undefined);
  });

  it('names the proxy as the client has found it', async () => {
    await start();
    for (const [host, named] of [
      ['127.0.0.1:3128', '127.0.0.1:3128'],
      ['127.0.0.1', '127.0.0.1:80'],
      ['LocalHost:1080', 'localhost:1080'],
      ['192.0.2.1:1080', '192.0.2.1:1080'],
      ['[::1]:1080', '[::1]:1080'],
      ['[::ffff:127.0.0.1]:1080', '127.0.0.1:1080'],
    ] as const) {
      const { status, body } = await ask([], { host });
      assert.equal(status, 200, host);
      assert.equal(body, write(named), host);
    }
    // HTTP/1.0 needs no Host.
    const old = await ask([], { line: 'GET /proxy.pac HTTP/1.0', host: '' });
    assert.equal(old.body, write(`127.0.0.1:${proxy.port}`));
  });

  it('has no other path, and a query does not matter', async () => {
    await start();
    assert.equal((await ask([], { line: 'GET /proxy.pac?1 HTTP/1.1' })).status, 200);
    for (const path of ['/', '/proxy.pac/', '/Proxy.pac', '//proxy.pac', '/x/proxy.pac', '*']) {
      const { status, body } = await ask([], { line: `GET ${path} HTTP/1.1` });
      assert.equal(status, 400, path);
      assert.doesNotMatch(body, /FindProxy/, path);
    }
  });

  it('answers HEAD without the script, and other methods not at all', async () => {
    await start();
    const { status, fields, body } = await ask([], { line: 'HEAD /proxy.pac HTTP/1.1' });
    assert.equal(status, 200);
    assert.equal(fields['content-length'], String(write(`127.0.0.1:${proxy.port}`).length));
    assert.equal(body, '');
    for (const method of ['POST', 'OPTIONS', 'PUT']) {
      const refused = await ask(['Content-Length: 0'], { line: `${method} /proxy.pac HTTP/1.1` });
      assert.equal(refused.status, 405, method);
      assert.equal(refused.fields['allow'], 'GET, HEAD');
      assert.doesNotMatch(refused.body, /FindProxy/);
    }
  });

  it('is not for web pages', async () => {
    await start();
    const refusals = [
      ['Sec-Fetch-Site: cross-site', 'Sec-Fetch-Mode: no-cors', 'Sec-Fetch-Dest: script'],
      ['Sec-Fetch-Site: cross-site', 'Sec-Fetch-Mode: navigate', 'Sec-Fetch-Dest: iframe'],
      ['Sec-Fetch-Site: same-site'],
      ['Sec-Fetch-Site: same-origin'],
      ['Sec-Fetch-Site: none', 'Sec-Fetch-Site: cross-site'],
      ['Origin: https://page.example'],
      ['Origin: null'],
      [`Origin: http://127.0.0.1:${proxy.port}`],
    ];
    for (const fields of refusals) {
      const { status, body, fields: answered } = await ask(fields);
      assert.equal(status, 403, fields.join());
      assert.match(body, /^tunnel: a web page asks/);
      assert.ok(!Object.keys(answered).some((name) => name.startsWith('access-control')));
    }
    assert.equal(proxy.counters.get('tunnel_proxy_pac_refused_total'), refusals.length);
    // The browser itself: for its settings, or because its user has typed the address.
    assert.equal((await ask(['Sec-Fetch-Site: none', 'Sec-Fetch-Mode: no-cors'])).status, 200);
  });

  it('is not for names that somebody can have resolved to this machine', async () => {
    await start();
    for (const host of [
      `page.example:${proxy.port}`,
      `127.0.0.1.nip.io:${proxy.port}`,
      `x.localhost:${proxy.port}`,
      'page.example',
    ]) {
      const { status, body } = await ask([], { host });
      assert.equal(status, 403, host);
      assert.match(body, /^tunnel: \/proxy\.pac is asked for under a name/);
    }
    for (const host of ['127.1:80', '127.0.0.1:1:1', '127.0.0.1:80"', 'a b', '@127.0.0.1'])
      assert.equal((await ask([], { host })).status, 400, host);
    assert.equal((await ask(['Host: 127.0.0.1'])).status, 400, 'twice');
    assert.equal((await ask([], { host: '' })).status, 400, 'none');
  });

  it('is not for other users, nor where the port speaks SOCKS only', async () => {
    await start({ isOwnUser: async () => false });
    assert.equal((await ask()).status, 403);
    await proxy.close();
    await start({ protocols: 'socks' });
    assert.equal((await ask()).status, 400);
    assert.equal(proxy.pacUrl, undefined);
  });

  it('needs the password where the proxy does', async () => {
    await start({ credentials: [{ user: 'ann', password: 'pw' }] });
    const { status, fields, body } = await ask();
    assert.equal(status, 401);
    assert.match(fields['www-authenticate'] ?? '', /^Basic /);
    assert.doesNotMatch(body, /FindProxy/);
    const basic = (text: string) => `Authorization: Basic ${Buffer.from(text).toString('base64')}`;
    assert.equal((await ask([basic('ann:wrong')])).status, 401);
    assert.equal(proxy.counters.get('tunnel_proxy_authentication_failures_total'), 1);
    assert.equal((await ask([basic('ann:pw')])).body, write(`127.0.0.1:${proxy.port}`));
    // A page is refused before anybody is asked for a password.
    assert.equal((await ask(['Sec-Fetch-Site: cross-site'])).status, 403);
  });

  it('is made for each request, and refused where browsers would cut it', async () => {
    let length = 10;
    await start({ pac: () => 'x'.repeat(length) });
    assert.equal((await ask()).body.length, 10);
    length = MAX_PAC_BYTES;
    assert.equal((await ask()).body.length, MAX_PAC_BYTES);
    length++;
    const { status, fields } = await ask();
    assert.equal(status, 500);
    assert.match(fields['proxy-status'] ?? '', /error=proxy_configuration_error/);
    assert.equal(proxy.counters.get('tunnel_proxy_pac_too_large_total'), 1);
  });

  it('is not there unless it is asked for', async () => {
    await start({ pac: undefined });
    assert.equal((await ask()).status, 400);
    assert.equal(proxy.pacUrl, undefined);
  });

  it('has an address that this machine can connect to', async () => {
    for (const [hosts, host] of [
      [['127.0.0.1'], '127.0.0.1'],
      [['0.0.0.0'], '127.0.0.1'],
      [['::'], '[::1]'],
      [['127.0.0.1', '::1'], '127.0.0.1'],
    ] as const) {
      await start({ hosts });
      assert.equal(proxy.pacUrl, `http://${host}:${proxy.port}/proxy.pac`);
      await proxy.close();
    }
  });
});
