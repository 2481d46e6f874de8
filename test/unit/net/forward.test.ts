import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type ForwardListen,
  formatForward,
  parseForward,
  RemoteSocketError,
} from '../../../src/net/forward.ts';
import { NotationError } from '../../../src/net/notation.ts';

const port = (number: number, host?: string): ForwardListen => ({
  kind: 'port',
  host,
  port: number,
});
const services = (name: string) => (name === 'http' ? 80 : undefined);

describe('parseForward', () => {
  const TAKEN: readonly (readonly [
    text: string,
    listen: ForwardListen,
    host: string,
    port: number,
  ])[] = [
    ['8080:db.internal:5432', port(8080), 'db.internal', 5432],
    ['127.0.0.1:8080:db:5432', port(8080, '127.0.0.1'), 'db', 5432],
    ['localhost:8080:localhost:80', port(8080, 'localhost'), 'localhost', 80],
    ['*:8080:db:5432', port(8080, '*'), 'db', 5432],
    [':8080:db:5432', port(8080, '*'), 'db', 5432],
    ['[]:8080:db:5432', port(8080, '*'), 'db', 5432],
    ['[*]:8080:[db]:5432', port(8080, '*'), 'db', 5432],
    ['[::1]:8080:[2001:DB8::0:5]:443', port(8080, '::1'), '2001:db8::5', 443],
    ['[fe80::1%eth0]:8080:db:80', port(8080, 'fe80::1%eth0'), 'db', 80],
    ['this-machine:8080:db:80', port(8080, 'this-machine'), 'db', 80],
    ['0:db:5432', port(0), 'db', 5432],
    ['http:web:http', port(80), 'web', 80],
    ['8080:API.Example.com.:80', port(8080), 'api.example.com', 80],
    ['8080:[::ffff:10.0.0.1]:80', port(8080), '10.0.0.1', 80],
    ['/run/db.sock:db:5432', { kind: 'socket', path: '/run/db.sock' }, 'db', 5432],
    ['./db.sock:10.0.0.1:5432', { kind: 'socket', path: './db.sock' }, '10.0.0.1', 5432],
    ['/run/a\\:b.sock:db:5432', { kind: 'socket', path: '/run/a:b.sock' }, 'db', 5432],
    ['[/run/a:b.sock]:db:5432', { kind: 'socket', path: '/run/a:b.sock' }, 'db', 5432],
    ['/run/a b.sock:db:5432', { kind: 'socket', path: '/run/a b.sock' }, 'db', 5432],
  ];
  for (const [text, listen, host, hostPort] of TAKEN) {
    it(`reads ${text}`, () => {
      const destination = { host, port: hostPort };
      assert.deepEqual(parseForward(text, services), { listen, destination, text });
    });
  }

  const REFUSED: readonly (readonly [text: string, message: RegExp, hint: RegExp])[] = [
    ['', /not a port, a host and its port/, /as in: 8080:db\.internal:5432/],
    ['8080', /not a port, a host and its port/, /as in/],
    ['db:5432', /not a port, a host and its port/, /as in/],
    ['8080:db', /not a port, a host and its port/, /as in/],
    ['65536:db:5432', /^65536 is not a port$/, /1 to 65535, or 0 for any free one/],
    ['8080:db:65536', /^65536 is not a port$/, /ports are 1 to 65535$/],
    ['8080:db:0', /^0 is not a port$/, /ports are 1 to 65535$/],
    ['-1:db:5432', /"-1" is not a port/, /as in/],
    ['8080:db:postgresq', /"postgresq" is not a port/, /as in/],
    ['8080::5432', /names no host/, /localhost/],
    ['8080:db:', /"" is not a port/, /as in/],
    ['::1:8080:db:5432', /too many colons/, /in brackets/],
    ['8080:2001:db8::5:443', /too many colons/, /in brackets/],
    ['[::1:8080:db:80', /a bracket isn't closed/, /in brackets/],
    ['[::1]8080:db:80', /a bracket isn't closed/, /in brackets/],
    ['8080:127.1:80', /neither a name nor an address/, /four decimal numbers/],
    ['a b:8080:db:80', /"a b" is not an address to listen on/, /"localhost", or "\*"/],
    ['8080:a/b:80', /"a\/b" is not a host name/, /./],
    ['8080:db\u0007:80', /has control characters/, /./],
    ['8080:db:80\\', /ends in a backslash/, /as in/],
    [`/${'x'.repeat(107)}:db:80`, /at most 107 bytes/, /shorter path/],
  ];
  for (const [text, message, hint] of REFUSED) {
    it(`refuses ${JSON.stringify(text.slice(0, 40))}`, () => {
      assert.throws(
        () => parseForward(text, services),
        (error) => {
          assert.ok(error instanceof NotationError);
          assert.match(error.message, message);
          if (error.hint !== undefined) assert.match(error.hint, hint);
          return true;
        },
      );
    });
  }

  for (const text of ['8080:/run/db.sock', '/a.sock:/b.sock', 'localhost:8080:/run/db.sock'])
    it(`says that ${text} leads to a socket of the jump host`, () => {
      assert.throws(() => parseForward(text), RemoteSocketError);
    });

  it('never throws anything else, and what it reads it reads again', () => {
    const letters = ['8', '0', ':', '[', ']', '\\', '/', '*', 'a', '.', '%', '-', ' '];
    let seed = 7;
    const next = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed % below;
    };
    for (let round = 0; round < 20_000; round += 1) {
      const text = Array.from({ length: next(16) }, () => letters[next(letters.length)]).join('');
      try {
        parseForward(text);
      } catch (error) {
        assert.ok(error instanceof NotationError, text);
      }
    }
  });
});

describe('formatForward', () => {
  it('is the same for all ways to write a forward', () => {
    const texts = ['127.0.0.1:8080:DB.internal.:80', '[127.0.0.1]:8080:[db.internal]:80'];
    const written = texts.map((text) => formatForward(parseForward(text)));
    assert.deepEqual(written, Array(2).fill('127.0.0.1:8080 -> db.internal:80'));
  });
});
