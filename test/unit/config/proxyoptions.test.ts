import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readProxyOptions as readGiven } from '../../../src/config/proxyoptions.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { givenOptions, type OptionTexts } from '../../support/options.ts';

const readProxyOptions = (texts: OptionTexts, command: 'connect' | 'proxy') =>
  readGiven(givenOptions(texts), command === 'proxy');

const directory = mkdtempSync(join(tmpdir(), 'tunnel-proxyoptions-'));
after(() => rmSync(directory, { recursive: true }));

function secret(content: string, mode = 0o600): string {
  const path = join(directory, 'users');
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

describe('readProxyOptions', () => {
  const listens = (options: OptionTexts) => readProxyOptions(options, 'proxy')?.listens;

  it('reads addresses and ports', () => {
    const both = ['127.0.0.1', '::1'];
    for (const [text, hosts, port] of [
      ['1080', both, 1080],
      ['localhost:0', both, 0],
      ['127.0.0.2:3128', ['127.0.0.2'], 3128],
      ['[::1]:8080', ['::1'], 8080],
    ] as const) {
      assert.deepEqual(
        listens({ socks: [text] }),
        [{ hosts, port, protocols: 'socks', ownUserOnly: true }],
        text,
      );
    }
    assert.deepEqual(
      listens({ listen: ['1'], http: ['2', '3'] })?.map(
        ({ port, protocols }) => `${port} ${protocols}`,
      ),
      ['1 both', '2 http', '3 http'],
    );
    for (const text of [
      '',
      'x',
      '127.0.0.1',
      '::1:1080',
      '1.2.3:80',
      'host:1',
      '127.0.0.1:65536',
      ':1',
      '1080x',
    ])
      assert.throws(() => listens({ http: [text] }), UsageError, text);
  });

  it('refuses two proxies at one address, which port 0 never is', () => {
    assert.throws(() => listens({ socks: ['1080'], http: ['localhost:1080'] }), {
      message: 'two proxies are to listen on 127.0.0.1:1080',
    });
    assert.throws(() => listens({ listen: ['[::1]:1', '[0::1]:1'] }), /listen on \[::1\]:1/);
    assert.equal(listens({ socks: ['0'], http: ['0', '[::1]:2', '127.0.0.1:2'] })?.length, 4);
  });

  it('has a default for the command proxy only', () => {
    assert.deepEqual(listens({}), [
      { hosts: ['127.0.0.1'], port: 1080, protocols: 'both', ownUserOnly: true },
    ]);
    assert.equal(readProxyOptions({}, 'connect'), undefined);
    assert.throws(
      () => readProxyOptions({ onlyTargets: true }, 'connect'),
      /--only-targets belongs to a proxy/,
    );
  });

  it('serves its own user only, on loopback and unless others are named or admitted', () => {
    const own = (options: OptionTexts) => listens(options)?.map(({ ownUserOnly }) => ownUserOnly);
    assert.deepEqual(own({ socks: ['1', '127.9.9.9:2', '[::1]:3'] }), [true, true, true]);
    assert.deepEqual(own({ socks: ['1'], proxyShared: true }), [false]);
    assert.deepEqual(own({ socks: ['1'], proxyAuth: secret('a:b') }), [false]);
    assert.deepEqual(own({ socks: ['1', '*:2'], allowRemoteClients: true }), [true, false]);
    assert.throws(
      () => readProxyOptions({ proxyShared: true }, 'connect'),
      /--proxy-shared belongs to a proxy/,
    );
  });

  it('wants users named, or a word, where other machines can connect', () => {
    for (const text of ['*:1080', '0.0.0.0:0', '[::]:1080', '192.0.2.1:1080', '[2001:db8::1]:1']) {
      assert.throws(() => listens({ listen: [text] }), /is not a loopback address/, text);
      assert.equal(
        readProxyOptions({ listen: [text], allowRemoteClients: true }, 'proxy')?.remoteClients,
        true,
      );
      assert.equal(
        readProxyOptions({ listen: [text], proxyAuth: secret('a:b') }, 'proxy')?.remoteClients,
        true,
      );
    }
    assert.equal(readProxyOptions({ listen: ['127.9.9.9:1'] }, 'proxy')?.remoteClients, false);
  });

  it('reads users from a file that only its owner can read, and shows no part of it', () => {
    const read = (content: string, mode?: number) =>
      readProxyOptions({ proxyAuth: secret(content, mode) }, 'proxy')?.credentials;
    assert.deepEqual(read('# users\nann:p:w d\r\n\nbob: x\n'), [
      { user: 'ann', password: 'p:w d' },
      { user: 'bob', password: ' x' },
    ]);
    for (const content of [
      '',
      '# none\n',
      'hunter2',
      ':hunter2',
      'ann:',
      `${'u'.repeat(256)}:hunter2`,
    ]) {
      assert.throws(
        () => read(content),
        (error) => error instanceof UsageError && !error.message.includes('hunter2'),
        content,
      );
    }
    assert.throws(() => read('ann:x', 0o640), /other users can read/);
    assert.throws(
      () => readProxyOptions({ proxyAuth: join(directory, 'none') }, 'proxy'),
      /none can't be read: there is no such file/,
    );
  });
});
