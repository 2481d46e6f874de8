/** Which resolvers behind the jump host are asked: real streams, and servers as the test says. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { after, describe, it } from 'node:test';
import {
  type ResolverCandidates,
  ResolverChoice,
  type ResolverChoiceOptions,
} from '../../../../src/dns/upstream/choice.ts';
import { Rcode } from '../../../../src/dns/wire/message.ts';
import { parseQuery } from '../../../../src/dns/wire/query.ts';
import { formatDestination } from '../../../../src/net/destination.ts';
import { AT_ONCE_MS } from '../../../support/until.ts';
import { a, answerBytes, CountingObserver, question, read } from '../server/support.ts';

const ROUTER = { host: '192.168.1.1', port: 53 };
const STUB = { host: '127.0.0.53', port: 53 };
const LOCAL = { host: '127.0.0.1', port: 53 };
const HOME: ResolverCandidates = { servers: [ROUTER], named: false, own: [STUB, LOCAL] };

/** What a resolver does: an answer with this code after some milliseconds, silence, a refusal. */
interface Behaviour {
  readonly rcode?: number;
  readonly ms?: number;
  readonly silent?: true;
}

const servers: Server[] = [];
const sockets = new Set<Socket>();
after(() => {
  for (const server of servers) server.close();
});

/** A server on a loopback port: the address of its answers tells which one it is. */
async function serve({ rcode = 0, ms = 0, silent }: Behaviour, address: string): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    sockets.add(socket);
    socket.on('data', (chunk: Buffer) => {
      for (let rest = chunk; rest.length > 0; rest = rest.subarray(2 + rest.readUInt16BE(0))) {
        const parsed = parseQuery(rest.subarray(2, 2 + rest.readUInt16BE(0)));
        if (silent || parsed.kind !== 'query') return;
        const { question: asked, id } = parsed.query;
        const answers = rcode === 0 ? [a(asked.name, address)] : [];
        const bytes = answerBytes(asked, id, { rcode, answers });
        const length = Buffer.alloc(2);
        length.writeUInt16BE(bytes.length);
        setTimeout(() => socket.write(Buffer.concat([length, bytes])), ms);
      }
    });
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('no port');
  return bound.port;
}

/** A jump host with these resolvers in reach; what is missing is refused. */
async function jumpHost(
  behaviours: Readonly<Record<string, Behaviour>>,
  candidates: ResolverCandidates,
  {
    whenLinked,
    ...more
  }: Partial<ResolverChoiceOptions> & { readonly whenLinked?: Promise<void> } = {},
) {
  const reach = new Map<string, number>();
  const set = async (all: Readonly<Record<string, Behaviour>>) => {
    reach.clear();
    // As when the link is lost.
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    for (const [host, behaviour] of Object.entries(all))
      reach.set(host, await serve(behaviour, host));
  };
  await set(behaviours);
  const observer = new CountingObserver();
  const said: string[] = [];
  const choice = new ResolverChoice({
    candidates: () => candidates,
    domains: [],
    connect: async (destination, { signal }) => {
      await whenLinked;
      const port = reach.get(destination.host);
      if (port === undefined)
        throw new Error(`${formatDestination(destination)}: Connection refused`);
      const socket = connect(port, '127.0.0.1');
      signal.addEventListener('abort', () => socket.destroy(new Error('given up')), { once: true });
      await once(socket, 'connect');
      return socket;
    },
    observer: {
      count: (name, n) => observer.count(name, n),
      log: (level, text) => void said.push(`${level}: ${text}`),
    },
    tryMs: 2_000,
    headStartMs: 200,
    pauseMs: 0,
    ...more,
  });
  const asked = async () => {
    const { message } = await choice.resolve(question('www.example'));
    const [answer] = read(message).answers ?? [];
    return answer?.type === 'A' ? answer.data : undefined;
  };
  return { choice, asked, said, observer, set };
}

describe('the choice of a resolver behind the jump host', () => {
  it("is the first that answers, even if the jump host's own is faster", async () => {
    const { choice, asked, said } = await jumpHost(
      { [ROUTER.host]: { ms: 60 }, [STUB.host]: {}, [LOCAL.host]: {} },
      HOME,
      { headStartMs: 5_000 },
    );
    await choice.start();
    assert.equal(await asked(), ROUTER.host);
    assert.deepEqual(said, ['notice: names are asked of 192.168.1.1:53, from the jump host']);
    choice.close();
  });

  it("is the jump host's own where the router's address leads nowhere, without waiting long", async () => {
    for (const router of [{}, { [ROUTER.host]: { silent: true } as const }]) {
      const { choice, asked, said } = await jumpHost({ ...router, [LOCAL.host]: {} }, HOME, {
        tryMs: 20_000,
      });
      const began = performance.now();
      await choice.start();
      assert.ok(performance.now() - began < AT_ONCE_MS);
      assert.equal(await asked(), LOCAL.host);
      assert.match(
        said.join(),
        /^notice: names are asked of 127\.0\.0\.1:53, the jump host's own resolver: 192\.168\.1\.1:53: (Connection refused|.* in time)$/,
      );
      choice.close();
    }
  });

  it('is made by the first question where nothing is dialled before, when there is a link', async () => {
    let linked = () => {};
    const whenLinked = new Promise<void>((resolve) => {
      linked = resolve;
    });
    const { choice, asked, said, set } = await jumpHost({}, HOME, {
      tryMs: 300,
      linkMs: 5_000,
      whenLinked,
    });
    const first = [asked(), asked()];
    setTimeout(() => void set({ [LOCAL.host]: {} }).then(linked), 600);
    assert.deepEqual(await Promise.all(first), [LOCAL.host, LOCAL.host]);
    assert.equal(said.filter((line) => line.includes('names are asked of')).length, 1);
    choice.close();
    await assert.rejects(asked(), { code: 'dns-closed' });
  });

  it('is made by a later question if nobody has answered the first one', async () => {
    const { choice, asked, set } = await jumpHost({}, HOME, { tryMs: 300 });
    await assert.rejects(asked(), { code: 'dns-no-resolver' });
    await set({ [STUB.host]: {} });
    assert.equal(await asked(), STUB.host);
    choice.close();
  });

  it('is not one that refuses strangers, unless it is the only one', async () => {
    const refuses = { [ROUTER.host]: { rcode: Rcode.REFUSED } };
    const { choice, asked } = await jumpHost({ ...refuses, [STUB.host]: {} }, HOME);
    await choice.start();
    assert.equal(await asked(), STUB.host);
    choice.close();
    const alone = await jumpHost(refuses, HOME);
    await alone.choice.start();
    const { rcode } = await alone.choice.resolve(question('www.example'));
    assert.equal(rcode, Rcode.REFUSED);
    assert.deepEqual(alone.said, [
      'warning: names are asked of 192.168.1.1:53, from the jump host; it answers REFUSED, so names may not resolve',
    ]);
    alone.choice.close();
    // A server that the user has named may know nothing but its own names.
    const named = await jumpHost(
      { [ROUTER.host]: { rcode: Rcode.REFUSED }, [STUB.host]: { ms: 50 } },
      { ...HOME, named: true },
    );
    await named.choice.start();
    assert.match(named.said.join(), /names are asked of 192\.168\.1\.1:53/);
    named.choice.close();
  });

  it('ends with what each has said if none answers', async () => {
    const { choice } = await jumpHost({ [STUB.host]: { silent: true } }, HOME, { tryMs: 300 });
    await assert.rejects(choice.start(), {
      code: 'dns-no-resolver',
      message:
        /^no resolver answers behind the jump host: 192\.168\.1\.1:53: Connection refused; 127\.0\.0\.53:53: .* in time; 127\.0\.0\.1:53: Connection refused$/,
      hint: /--dns-server/,
    });
    choice.close();
  });

  it('is all that are named, with a warning for each that does not answer', async () => {
    const named = { servers: [ROUTER, LOCAL], named: true, own: [] };
    const one = await jumpHost({ [LOCAL.host]: {} }, named);
    await one.choice.start();
    assert.match(
      one.said.join(),
      /^warning: --dns-server 192\.168\.1\.1:53 gives no answer to the jump host: .*refused,info: names are asked of 127\.0\.0\.1:53/,
    );
    assert.equal(await one.asked(), LOCAL.host);
    one.choice.close();
    const none = await jumpHost({}, named);
    await assert.rejects(none.choice.start(), { code: 'dns-no-resolver', hint: /add --dns/ });
    none.choice.close();
    // With --domain only the names below that depend on it; they resolve when it answers.
    const split = await jumpHost({}, named, { domains: ['corp.example'] });
    await split.choice.start();
    await assert.rejects(split.asked());
    await split.set({ [ROUTER.host]: {} });
    assert.equal(await split.asked(), ROUTER.host);
    split.choice.close();
  });

  it('is made again when the chosen one no longer answers, and the query is asked again', async () => {
    const { choice, asked, said, set, observer } = await jumpHost({ [STUB.host]: {} }, HOME);
    await choice.start();
    assert.equal(await asked(), STUB.host);
    // Another jump host.
    await set({ [LOCAL.host]: {} });
    assert.deepEqual(await Promise.all([asked(), asked()]), [LOCAL.host, LOCAL.host]);
    assert.equal(observer.of('tunnel_dns_choices_again_total'), 1);
    assert.match(said.at(-1) ?? '', /names are asked of 127\.0\.0\.1:53/);
    // While nobody answers, it stays; what it was comes back by itself.
    await set({});
    await assert.rejects(asked(), { code: 'dns-unreachable' });
    await set({ [LOCAL.host]: {} });
    assert.equal(await asked(), LOCAL.host);
    choice.close();
  });

  it('asks nobody that is not tried again within the pause, and nobody after its end', async () => {
    const { choice, asked, set, observer } = await jumpHost({ [STUB.host]: {} }, HOME, {
      pauseMs: 60_000,
    });
    await choice.start();
    await set({});
    for (let i = 0; i < 3; i++) await assert.rejects(asked(), { code: 'dns-unreachable' });
    assert.equal(observer.of('tunnel_dns_choices_again_total'), 1);
    choice.close();
    await assert.rejects(asked(), { code: 'dns-closed' });
  });
});
