/** The octets of a proxy's client. */
import assert from 'node:assert/strict';
import { parseAbsoluteForm, parseAuthority } from '../../../src/capture/proxy/head.ts';
import type { Destination } from '../../../src/net/destination.ts';
import { startProxy, type TestProxy } from '../../support/proxy.ts';
import type { FuzzTarget } from '../engine.ts';
import { refusable, text } from '../text.ts';

const authority: FuzzTarget = {
  name: 'http-target',
  seeds: ['http://api.example.com:80/a?b', 'https://[2001:db8::1]/', '10.0.0.1:443', 'user@host:1'],
  words: ['://', '[', ']', ':', '%', '@', '/', '#', '\\'],
  maxBytes: 500,
  run(input) {
    const check = ({ host, port }: Destination): void =>
      assert.ok(host.length > 0 && port > 0 && port < 65_536, `${host} ${port}`);
    refusable(() => check(parseAbsoluteForm(text(input), 'GET').destination));
    refusable(() => check(parseAuthority(text(input))));
    refusable(() => check(parseAuthority(text(input), 80)));
  },
};

let proxy: Promise<TestProxy> | undefined;

/** A whole dialogue with the proxy itself: SOCKS or HTTP, as the first octet says. */
const dialogue: FuzzTarget = {
  name: 'proxy',
  seeds: [
    '\x05\x01\x00\x05\x01\x00\x03\x0becho.example\x00\x50data',
    '\x05\x02\x00\x02\x01\x01u\x01p\x05\x01\x00\x01\x0a\x00\x00\x01\x01\xbb',
    '\x04\x01\x00\x50\x00\x00\x00\x01user\x00name.example\x00',
    'CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n',
    'POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
  ],
  words: [
    '\r\n',
    'Host: ',
    'HTTP/1.1',
    'Transfer-Encoding: chunked\r\n',
    'Content-Length: 5\r\n',
    'Connection: upgrade\r\n',
  ],
  maxBytes: 2_000,
  async run(input) {
    proxy ??= startProxy();
    const client = await (await proxy).open();
    client.socket.end(Buffer.from(input));
    await client.rest();
    client.close();
  },
};

export async function closeProxy(): Promise<void> {
  const open = await proxy;
  proxy = undefined;
  await open?.close();
}

export const PROXY_TARGETS: readonly FuzzTarget[] = [authority, dialogue];
