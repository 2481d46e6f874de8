/** Tunnels beside each other, each with its whole name service, over real sockets on loopback. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { NameService } from '../../../../src/dns/server/nameservice.ts';
import {
  CLAIMS_NAME,
  GREETING_NAME,
  Neighbours,
  type OtherTunnel,
} from '../../../../src/dns/server/neighbours.ts';
import { NameBook } from '../../../../src/dns/upstream/known.ts';
import type { Resolver } from '../../../../src/dns/upstream/resolver.ts';
import { composeAnswer } from '../../../../src/dns/wire/compose.ts';
import { parseQuery } from '../../../../src/dns/wire/query.ts';
import { parseNamePattern } from '../../../../src/net/name.ts';
import { DnsListener } from '../../../support/dnslistener.ts';
import { CountingObserver, queryBytes, read, upstreamAnswer } from './support.ts';

const TXT = 16;
const CHAOS = 3;
const SERVFAIL = 2;

interface Tunnel {
  readonly names: NameService;
  readonly neighbours: Neighbours;
  readonly observer: CountingObserver;
  readonly listener: DnsListener;
  /** As from a program. */
  ask(name: string): Promise<{ rcode: number; addresses: string[] }>;
  end(): Promise<void>;
}

/** A machine on which tunnels come and go. */
class TunnelMachine {
  readonly #running = new Map<string, { index: number; port: number; tunnel: Tunnel }>();
  #devices = 0;
  /** Its devices can't be listed. */
  broken = false;
  /** The device of one that gets no sockets. */
  exhausted: string | undefined;

  async start(
    targets: readonly string[],
    {
      number = this.#running.size,
      serves = true,
      heeds = true,
      all = false,
      excluded = [] as string[],
      behind = undefined as Resolver | undefined,
      /** How often it can't say what it claims, before it can. */
      busy = 0,
    } = {},
  ): Promise<Tunnel> {
    const device = `tun${number}`;
    const observer = new CountingObserver();
    const portOf = (other: OtherTunnel) => {
      const port = this.#running.get(other.device)?.port;
      if (port === undefined) throw new Error('no such device');
      return port;
    };
    const neighbours = new Neighbours({
      // Shorter than in a tunnel, but enough for a busy machine.
      lookMs: 500,
      greetMs: 2000,
      find: () => {
        if (this.broken) throw new Error('too many open files');
        return [...this.#running]
          .sort(([a], [b]) => a.localeCompare(b))
          .filter(([name]) => name !== device)
          .map(([name, { index }]) => ({
            ...{ device: name, index },
            address: `198.18.${name.slice(3)}.1`,
          }));
      },
      socketFor: (other) => {
        const port = portOf(other);
        const socket = createSocket('udp4');
        const dial = socket.connect.bind(socket);
        socket.connect = () => dial(port, '127.0.0.1');
        return socket;
      },
      connect: (other) => async () => {
        if (this.exhausted === device)
          throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
        const socket = connect({ port: portOf(other), host: '127.0.0.1' });
        await once(socket, 'connect');
        return socket;
      },
      observer,
    });
    const names = new NameService({
      naming: {
        nameTargets: targets.map(parseNamePattern),
        nameExclusions: excluded.map(parseNamePattern),
        domains: [],
        beyond: all ? 'tunnel' : 'local',
      },
      device: { address4: `198.18.${number}.1`, address6: undefined },
      behind,
      // Nobody answers there.
      local: [{ host: '127.0.0.1', port: 9 }],
      connectDirectly: () => Promise.reject(new Error('nobody is asked here')),
      book: new NameBook({ observer }),
      neighbours,
      observer,
    });
    const { server } = names;
    failClaims(server, busy);
    const listener = new DnsListener({ server, host: '127.0.0.1', port: 0, ofTunnel: true });
    const tunnel: Tunnel = {
      names,
      neighbours,
      observer,
      listener,
      async ask(name) {
        const answer = await server.answer(queryBytes(name, 1), { key: 'program', stream: true });
        const { rcode, answers } = read(answer ?? Buffer.alloc(0));
        const addresses = answers?.map((record) => ('data' in record ? String(record.data) : ''));
        return { rcode, addresses: addresses ?? [] };
      },
      end: async () => {
        this.#running.delete(device);
        names.close();
        neighbours.close();
        await listener.close();
      },
    };
    try {
      if (heeds) await neighbours.look(names.claims);
      await listener.start();
      this.#running.set(device, { index: this.#devices++, port: listener.port, tunnel });
      if (serves && heeds) await neighbours.greet(names.claims);
    } catch (error) {
      await tunnel.end();
      throw error;
    }
    return tunnel;
  }

  async close(): Promise<void> {
    for (const { tunnel } of this.#running.values()) await tunnel.end();
  }
}

/** Has it fail the next `times` questions for its claims. Greetings are answered. */
function failClaims(server: NameService['server'], times: number): void {
  const answer = server.answer.bind(server);
  let left = times;
  server.answer = async (bytes, client) => {
    const parsed = parseQuery(bytes);
    const isAsked = parsed.kind === 'query' && parsed.query.question.name === CLAIMS_NAME;
    if (!isAsked || left === 0) return answer(bytes, client);
    left--;
    return composeAnswer(parsed.query, { rcode: SERVFAIL });
  };
}

describe('tunnels beside each other', { timeout: 30_000 }, () => {
  let machine = new TunnelMachine();
  afterEach(async () => {
    await machine.close();
    machine = new TunnelMachine();
  });

  it('answer for their own names, whichever is asked', async () => {
    const one = await machine.start(['a.example', '*.corp.example']);
    const two = await machine.start(['b.example', '*.lab.corp.example']);
    for (const [name, block] of [
      ['a.example', /^198\.18\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./],
      ['x.corp.example', /^198\.18\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./],
      ['b.example', /^198\.18\.(12[89]|1[3-8]\d|19[01])\./],
      ['x.lab.corp.example', /^198\.18\.(12[89]|1[3-8]\d|19[01])\./],
    ] as const) {
      const [asked, other] = [await one.ask(name), await two.ask(name)];
      assert.match(asked.addresses[0] ?? '', block, name);
      assert.deepEqual(asked, other, name);
    }
    // Other names are this machine's resolver's, and passed on to nobody.
    assert.equal((await one.ask('other.example')).rcode, 2);
    assert.equal(one.observer.counts.get('tunnel_dns_passed_on_total'), 2);
  });

  it('have their names to themselves again when the other one ends', async () => {
    const one = await machine.start(['*.corp.example']);
    const two = await machine.start(['www.corp.example']);
    assert.match((await one.ask('www.corp.example')).addresses[0] ?? '', /^198\.18\.1[2-9]\d\./);
    // Nobody has told the first one.
    await two.end();
    assert.match(
      (await one.ask('www.corp.example')).addresses[0] ?? '',
      /^198\.18\.([6-9]\d|1[01]\d)\./,
    );
    await one.neighbours.refresh();
    const three = await machine.start(['www.corp.example'], { number: 1 });
    assert.deepEqual(await one.ask('www.corp.example'), await three.ask('www.corp.example'));
  });

  it('end when they claim the same, by name', async () => {
    await machine.start(['a.example', '*.corp.example'], { all: true });
    for (const [targets, all, what] of [
      [['a.example'], false, 'a.example'],
      [['b.example', '*.corp.example', 'a.example'], false, '*.corp.example, a.example'],
      [['b.example'], true, 'all names'],
    ] as const) {
      await assert.rejects(machine.start(targets, { all }), {
        code: 'already-running',
        message: `another tunnel, tun0, already answers for ${what}`,
      });
    }
    await machine.start(['b.example', 'corp.example', '*.x.corp.example']);
  });

  it('of which one doesn’t answer: the other one ends, and says which', async () => {
    const one = await machine.start(['a.example']);
    one.names.server.answer = () => new Promise(() => {});
    await assert.rejects(machine.start(['b.example']), {
      code: 'already-running',
      message: "the tunnel of tun0 doesn't say which names are its own",
    });
  });

  it('greet each other when they start at once', async () => {
    const [one, two] = await Promise.all([
      machine.start(['a.example'], { number: 0, serves: false }),
      machine.start(['b.example'], { number: 1, serves: false }),
    ]);
    await Promise.all([one, two].map(({ neighbours, names }) => neighbours.greet(names.claims)));
    assert.deepEqual(await one.ask('b.example'), await two.ask('b.example'));
    assert.deepEqual(await one.ask('a.example'), await two.ask('a.example'));
  });

  it('are looked at once more, however many greet at the same time', async () => {
    const one = await machine.start(['a.example']);
    const two = await machine.start(['b.example'], { serves: false });
    let asked = 0;
    two.names.server.answer = () => {
      asked += 1;
      return new Promise(() => {});
    };
    const greeting = queryBytes(GREETING_NAME, TXT, { of: CHAOS });
    const peer = { key: 'tunnel', stream: true, ofTunnel: true };
    const begun = performance.now();
    await Promise.all(Array.from({ length: 20 }, () => one.names.server.answer(greeting, peer)));
    assert.ok(performance.now() - begun < 4000);
    assert.ok(asked === 1 || asked === 2, 'by what is under way, and once for all that came since');
  });

  it('still have their names when they were silent while others looked', async () => {
    const one = await machine.start(['a.example']);
    const two = await machine.start(['b.example']);
    const { answer } = two.names.server;
    two.names.server.answer = () => new Promise(() => {});
    await one.neighbours.refresh(true);
    two.names.server.answer = answer.bind(two.names.server);
    assert.deepEqual(await one.ask('b.example'), await two.ask('b.example'));
  });

  it('keep the claims that they have made, whatever is said later', async () => {
    const one = await machine.start(['a.example']);
    const two = await machine.start(['b.example']);
    const before = await one.ask('b.example');
    const { answer } = two.names.server;
    const claims = queryBytes(CLAIMS_NAME, TXT, { of: CHAOS });
    const others = ['c.example', '*.example'];
    for (const data of [others, [], undefined]) {
      two.names.server.answer = async (bytes, client) => {
        const parsed = parseQuery(bytes);
        if (parsed.kind !== 'query' || parsed.query.question.type !== TXT)
          return answer.call(two.names.server, bytes, client);
        const { name } = parsed.query.question;
        if (data === undefined) return composeAnswer(parsed.query, { rcode: SERVFAIL });
        const txt = { type: 'TXT', class: 'CH', name, ttl: 0 } as const;
        return composeAnswer(parsed.query, { rcode: 0, answers: [{ ...txt, data: [...data] }] });
      };
      const said = await two.names.server.answer(claims, {
        ...{ key: 'tunnel', stream: true, ofTunnel: true },
      });
      assert.notEqual(said, undefined);
      await one.neighbours.refresh(true);
      await one.neighbours.refresh();
      assert.deepEqual(await one.ask('b.example'), before, String(data));
      assert.equal((await one.ask('c.example')).rcode, 2, 'nobody has claimed it');
    }
  });

  it('forget the claims of a device that has gone, though another one has its name and address', async () => {
    const one = await machine.start(['a.example']);
    const two = await machine.start(['b.example']);
    assert.equal((await one.ask('b.example')).rcode, 0);
    await two.end();
    await machine.start(['c.example'], { number: 1, heeds: false });
    await one.neighbours.refresh();
    assert.equal((await one.ask('b.example')).rcode, 2, "it is this machine's again");
    assert.equal(one.observer.counts.get('tunnel_dns_passed_on_total'), 1);
    await one.neighbours.refresh(true);
    assert.equal((await one.ask('c.example')).rcode, 0);
  });

  it('of which a later one claims what another one has: the older device counts', async () => {
    const one = await machine.start(['a.example'], { number: 1 });
    const two = await machine.start(['b.example'], { number: 2 });
    // It has the lowest number, and should have ended.
    const three = await machine.start(['b.example', 'a.example'], { number: 0, heeds: false });
    await one.neighbours.refresh(true);
    await two.neighbours.refresh(true);
    const late = await machine.start(['d.example'], { number: 3 });
    const theirs = await two.ask('b.example');
    assert.notDeepEqual(await three.ask('b.example'), theirs);
    for (const tunnel of [one, late]) assert.deepEqual(await tunnel.ask('b.example'), theirs);
    assert.deepEqual(await late.ask('a.example'), await one.ask('a.example'));
  });

  it('of which one can’t answer now: the other one asks again, then ends', async () => {
    const one = await machine.start(['a.example']);
    const { answer } = one.names.server;
    let left = 2;
    one.names.server.answer = async (bytes, client) => {
      const parsed = parseQuery(bytes);
      if (left-- <= 0 || parsed.kind !== 'query')
        return answer.call(one.names.server, bytes, client);
      return composeAnswer(parsed.query, { rcode: SERVFAIL });
    };
    await assert.rejects(machine.start(['a.example']), {
      message: /already answers for a\.example/,
    });
    left = Number.POSITIVE_INFINITY;
    await assert.rejects(machine.start(['b.example']), {
      code: 'already-running',
      message: "the tunnel of tun0 doesn't say which names are its own",
    });
  });

  it('of which one answers nothing but the greeting: that says what it claims', async () => {
    const one = await machine.start(['a.example']);
    failClaims(one.names.server, Number.POSITIVE_INFINITY);
    await assert.rejects(machine.start(['a.example']), {
      code: 'already-running',
      message: 'another tunnel, tun0, already answers for a.example',
    });
    const two = await machine.start(['b.example']);
    assert.equal((await two.ask('a.example')).rcode, 0);
  });

  it('of which a new one can’t be heard at once: it is ready when it was heard', async () => {
    const one = await machine.start(['a.example']);
    const two = await machine.start(['b.example'], { busy: 2 });
    assert.deepEqual(await one.ask('b.example'), await two.ask('b.example'));
    assert.equal((await one.ask('b.example')).rcode, 0);
  });

  it('of which a new one can’t be heard at all: it ends', async () => {
    await machine.start(['a.example']);
    await assert.rejects(machine.start(['b.example'], { busy: Number.POSITIVE_INFINITY }), {
      code: 'already-running',
    });
    await machine.start(['c.example']);
  });

  it('of which the greeted one has no descriptors: the new one ends', async () => {
    const one = await machine.start(['a.example']);
    machine.exhausted = 'tun0';
    const ended = { code: 'already-running' };
    await assert.rejects(machine.start(['b.example']), ended);
    machine.exhausted = undefined;
    const answer = one.names.server.answer.bind(one.names.server);
    one.names.server.answer = async (bytes, client) => {
      machine.broken = true;
      try {
        return await answer(bytes, client);
      } finally {
        machine.broken = false;
      }
    };
    await assert.rejects(machine.start(['b.example']), ended);
  });

  it('hear later what they could not hear', async () => {
    const one = await machine.start(['a.example']);
    await machine.start(['b.example'], { busy: 1, heeds: false });
    await one.neighbours.refresh(true);
    assert.equal((await one.ask('b.example')).rcode, SERVFAIL, 'nobody is known to have it');
    await one.neighbours.refresh();
    assert.equal((await one.ask('b.example')).rcode, 0);
  });

  it('are still known when the kernel can’t be asked for devices', async () => {
    const one = await machine.start(['a.example']);
    await machine.start(['b.example']);
    machine.broken = true;
    for (const again of [false, true]) await one.neighbours.refresh(again);
    machine.broken = false;
    assert.equal((await one.ask('b.example')).rcode, 0);
  });

  it('keep a name that its resolver refuses from the resolvers of whoever was asked', async () => {
    const one = await machine.start(['a.example']);
    const refusing: Resolver = {
      resolve: async (asked) => upstreamAnswer(asked, { rcode: 5 }),
      close() {},
    };
    await machine.start(['b.example'], { all: true, behind: refusing });
    assert.equal((await one.ask('x.example')).rcode, 2);
    // Only the other tunnel was asked.
    assert.equal(one.observer.counts.get('tunnel_dns_local_queries_total'), 1);
  });

  it('leave a name that is excluded there to whoever was asked', async () => {
    const one = await machine.start(['a.example']);
    await machine.start(['*.corp.example'], { excluded: ['www.corp.example'] });
    assert.equal((await one.ask('www.corp.example')).rcode, 2, "this machine's resolver is asked");
    assert.equal((await one.ask('api.corp.example')).rcode, 0);
  });

  it('answer other tunnels about nothing but their own names, and programs not about claims', async () => {
    const one = await machine.start(['a.example']);
    await machine.start(['b.example']);
    const { server } = one.names;
    const peer = { key: 'tunnel', stream: true, ofTunnel: true };
    const program = { key: 'program', stream: true };
    const rcode = async (query: Buffer, client: typeof program) =>
      read((await server.answer(query, client)) ?? Buffer.alloc(0)).rcode;
    assert.equal(await rcode(queryBytes('b.example', 1), peer), 5, 'it would go in a circle');
    assert.equal(await rcode(queryBytes('a.example', 1), peer), 0);
    for (const name of [CLAIMS_NAME, GREETING_NAME]) {
      assert.equal(await rcode(queryBytes(name, TXT, { of: CHAOS }), program), 5);
      assert.equal(await rcode(queryBytes(name, TXT, { of: CHAOS }), peer), 0);
    }
    const [AXFR, IXFR, TKEY] = [252, 251, 249];
    for (const type of [AXFR, IXFR]) {
      assert.equal(await rcode(queryBytes('a.example', type), program), 5);
      assert.equal(await rcode(queryBytes('a.example', type), peer), 5, `type ${type}`);
    }
    assert.equal(await rcode(queryBytes('a.example', TKEY), peer), 4);
    assert.equal(await rcode(queryBytes('version.bind', TXT, { of: CHAOS }), peer), 5);
  });

  it('with more names than fit into an answer run alone', async () => {
    const many = Array.from({ length: 4000 }, (_, n) => `a-rather-long-name-${n}.example`);
    const alone = await machine.start(many);
    await assert.rejects(machine.start(['b.example']), {
      code: 'already-running',
      message: /tun0 has more names than it can tell/,
    });
    await alone.end();
    await machine.start(['b.example']);
    await assert.rejects(machine.start(many), { message: /this tunnel has more names/ });
  });
});
