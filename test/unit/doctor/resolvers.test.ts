import assert from 'node:assert/strict';
import { connect, createServer, type Server } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { Rcode } from '../../../src/dns/wire/message.ts';
import { type ResolverCheck, tryResolvers } from '../../../src/doctor/resolvers.ts';
import { ConnectError, LinkGoneError } from '../../../src/flow/connector.ts';
import { listen } from '../../support/dialtries.ts';

const SERVER = { host: '10.0.0.53', port: 53 };

describe('tryResolvers', () => {
  let server: Server;
  let port: number;
  let rcode: number = Rcode.NOERROR;
  before(async () => {
    // Each question is its own answer, with the bit for one (RFC 1035 §4.1.1).
    server = createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (query) => {
        query.writeUInt8(query.readUInt8(4) | 0x80, 4);
        query.writeUInt8(rcode, 5);
        socket.write(query);
      });
    });
    port = await listen(server);
  });
  after(() => server.close());

  async function tried(more: Partial<ResolverCheck> = {}) {
    const [found] = await tryResolvers({
      servers: [SERVER],
      domains: [],
      connect: async () => connect(port, '127.0.0.1'),
      ...more,
    });
    assert.ok(found);
    return found;
  }

  it('says what each answers', async () => {
    rcode = Rcode.NOERROR;
    assert.match((await tried()).detail, /^10\.0\.0\.53:53 answers from the jump host in \d+ ms$/);
    rcode = Rcode.REFUSED;
    assert.equal((await tried()).state, 'note');
    const named = await tried({ domains: ['corp.example'] });
    assert.equal(named.state, 'warning');
    assert.match(named.detail, /but REFUSED for corp\.example$/);
  });

  it('says why one can not be reached', async () => {
    const found = await tried({
      connect: async () => {
        throw new ConnectError('refused', '10.0.0.53:53: Connection refused');
      },
    });
    assert.equal(found.state, 'failed');
    assert.match(found.detail, /Connection refused$/);
  });

  it("tries the jump host's own where no other answers, and then takes those for notes", async () => {
    rcode = Rcode.NOERROR;
    const own = ['127.0.0.53', '127.0.0.1'].map((host) => ({ host, port: 53 }));
    const tryWith = async (answering: readonly string[]) => {
      const found = await tryResolvers({
        servers: [SERVER],
        own,
        domains: [],
        connect: async ({ host }) => {
          if (answering.includes(host)) return connect(port, '127.0.0.1');
          throw new ConnectError('refused', `${host}: Connection refused`);
        },
      });
      return found.map(({ subject, state }) => `${subject} ${state}`);
    };
    assert.deepEqual(await tryWith([SERVER.host, '127.0.0.1']), ['10.0.0.53:53 ok']);
    assert.deepEqual(await tryWith(['127.0.0.1']), ['10.0.0.53:53 note', '127.0.0.1:53 ok']);
    assert.deepEqual(await tryWith([]), [
      '10.0.0.53:53 failed',
      '127.0.0.53:53 failed',
      '127.0.0.1:53 failed',
    ]);
  });

  it('does not blame it when the connection to the jump host was lost', async () => {
    const found = await tried({
      connect: async () => {
        throw new LinkGoneError('the connection to jump:22 is gone');
      },
    });
    assert.equal(found.state, 'note');
    assert.match(found.detail, /because the connection was lost$/);
  });
});
