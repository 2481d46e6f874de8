/**
 * Finds out which resolvers behind the jump host are of use, before anything depends on them, and
 * again when those no longer answer: the jump host may be another one then.
 *
 *   start()    all candidates are asked the same question at the same time, over TCP
 *              -> those that have answered, in the order given, the useful ones first
 *              -> none: TunnelError `dns-no-resolver`, or a warning where names can do without
 *   (--on-demand: this waits for the first resolve(), and may take as long as a connection is held)
 *   resolve()  these are asked (stream.ts)
 *              -> no answer from any of them: all candidates are tried again, and the question is
 *                 asked once more if others answer now
 *
 * | answer to the try        | what it means                                                   |
 * |--------------------------|-----------------------------------------------------------------|
 * | NOERROR, NXDOMAIN        | useful                                                          |
 * | SERVFAIL                 | after the useful ones: it may know some names all the same      |
 * | REFUSED, NOTIMP, FORMERR | the last: so resolvers of providers answer strangers            |
 * | none in TRY_MS           | left out                                                        |
 *
 * A server that the user has named is useful if it answers anything, since it may know nothing
 * besides its own names. Once one is useful, those before it have HEAD_START_MS left. So the
 * address of a home router, which leads nowhere from the jump host, costs no more than that.
 *
 * Without the jump host's own resolvers (`own`) there is no choice: all that are named are asked,
 * whether or not they have answered. Others may not know their names, and would say that these
 * don't exist.
 *
 * Limits: TRY_MS for a try; the next one PAUSE_MS after it at the earliest.
 */
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import { type Destination, formatDestination } from '../../net/destination.ts';
import { type Observer, silentObserver } from '../../observe/observer.ts';
import type { UpstreamAnswer } from '../wire/compose.ts';
import { Rcode, Type } from '../wire/message.ts';
import type { Question } from '../wire/query.ts';
import { questionFor } from './addresses.ts';
import { type Resolver, upstreamError } from './resolver.ts';
import { StreamUpstream, type StreamUpstreamOptions } from './stream.ts';

/** A resolver across the network has a round trip, a handshake and a look-up in this time. */
const TRY_MS = 5_000;
/** For those that are preferred, once another one has given a useful answer. */
const HEAD_START_MS = 1_000;
/** A resolver that is silent for one name only is no reason to try all of them all the time. */
const PAUSE_MS = 10_000;
const ROOT = '';

export interface ResolverCandidates {
  /** In order of preference. */
  readonly servers: readonly Destination[];
  /** Whether the user has named them. */
  readonly named: boolean;
  /** The jump host's own, as it reaches them itself. Empty: only `servers` are asked. */
  readonly own: readonly Destination[];
}

export interface ResolverChoiceOptions {
  /** As they are now. At least one. */
  readonly candidates: () => ResolverCandidates;
  /** Below which names are asked for, canonical. Empty: all names. */
  readonly domains: readonly string[];
  readonly connect: StreamUpstreamOptions['connect'];
  /** The same for the tries. Default: `connect`. */
  readonly connectToTry?: StreamUpstreamOptions['connect'];
  readonly observer: Observer;
  /** How long the first try may take besides TRY_MS: until there is a link. Default: 0. */
  readonly linkMs?: number;
  readonly tryMs?: number;
  readonly headStartMs?: number;
  readonly pauseMs?: number;
}

/** What came of a try. The lower the rank, the better; undefined: no answer. */
interface Outcome {
  readonly server: Destination;
  readonly isOwn: boolean;
  readonly rank: number | undefined;
  /** Completes "10.0.0.53:53 ...". */
  readonly said: string;
}

interface Chosen {
  readonly servers: readonly Destination[];
  readonly upstream: StreamUpstream;
}

export class ResolverChoice implements Resolver {
  readonly #options: ResolverChoiceOptions;
  #chosen: Chosen | undefined;
  /** The tries that are under way: whether they have changed what is asked. */
  #trying: Promise<boolean> | undefined;
  /** start(), where the first question calls it. */
  #starting: Promise<void> | undefined;
  /** In ms of performance.now(). */
  #notBefore = 0;
  readonly #tries = new Set<Resolver>();
  #closed = false;

  constructor(options: ResolverChoiceOptions) {
    this.#options = options;
  }

  /**
   * Resolves when it is known who is asked. To be called once, before `resolve`; otherwise the
   * first question does it, and the next one if nobody has answered. Rejects with TunnelError
   * `dns-no-resolver` when nobody answers and all names depend on it.
   */
  async start(): Promise<void> {
    const { candidates, domains, observer, linkMs = 0, tryMs = TRY_MS } = this.#options;
    const { servers, named, own } = candidates();
    const outcomes = await this.#tryAll(linkMs + tryMs);
    this.#requireOpen();
    const answering = ranked(outcomes);
    const silent = outcomes.filter(({ rank }) => rank === undefined);
    if (named) {
      for (const { server, isOwn, said } of silent)
        if (!isOwn)
          observer.log(
            'warning',
            `--dns-server ${formatDestination(server)} gives no answer to the jump host: ${said}`,
            { hint: OVER_TCP },
          );
    }
    if (answering.length === 0 && domains.length === 0) throw noResolver(outcomes, own.length > 0);
    this.#ask(own.length === 0 || answering.length === 0 ? servers : serversOf(answering));
    const [first] = answering;
    if (first !== undefined) this.#say(first, silent);
  }

  async resolve(question: Question): Promise<UpstreamAnswer> {
    if (this.#chosen === undefined) {
      this.#requireOpen();
      this.#starting ??= this.start().finally(() => {
        this.#starting = undefined;
      });
      await this.#starting;
    }
    const chosen = this.#chosen;
    if (chosen === undefined || this.#closed) throw closed();
    try {
      return await chosen.upstream.resolve(question);
    } catch (error) {
      if (!(await this.#tryAgain(chosen, error))) throw error;
      return await (this.#chosen ?? chosen).upstream.resolve(question);
    }
  }

  close(): void {
    this.#closed = true;
    this.#chosen?.upstream.close();
    for (const one of this.#tries) one.close();
  }

  /** Whether others are asked now than `failed`. Never rejects. */
  async #tryAgain(failed: Chosen, error: unknown): Promise<boolean> {
    if (this.#closed || (error instanceof TunnelError && error.code === 'dns-busy')) return false;
    if (this.#chosen !== failed) return true;
    if (this.#options.candidates().own.length === 0) return false;
    if (this.#trying === undefined) {
      if (performance.now() < this.#notBefore) return false;
      this.#trying = this.#chooseAgain().finally(() => {
        this.#trying = undefined;
      });
    }
    return this.#trying;
  }

  async #chooseAgain(): Promise<boolean> {
    const { observer, pauseMs = PAUSE_MS } = this.#options;
    observer.count('tunnel_dns_choices_again_total');
    const outcomes = await this.#tryAll(this.#options.tryMs ?? TRY_MS);
    this.#notBefore = performance.now() + pauseMs;
    const answering = ranked(outcomes);
    const [first] = answering;
    // Without any, the link may be down: what has answered before is the better guess.
    if (first === undefined || this.#closed) return false;
    const before = this.#chosen?.servers.map(formatDestination) ?? [];
    if (before.join() === serversOf(answering).map(formatDestination).join()) return false;
    this.#ask(serversOf(answering));
    this.#say(
      first,
      outcomes.filter(({ rank }) => rank === undefined),
    );
    return true;
  }

  #ask(servers: readonly Destination[]): void {
    const { connect, observer } = this.#options;
    const former = this.#chosen;
    this.#chosen = { servers, upstream: new StreamUpstream({ servers, connect, observer }) };
    former?.upstream.close();
  }

  #say({ server, isOwn, rank, said }: Outcome, silent: readonly Outcome[]): void {
    const { candidates, observer } = this.#options;
    const where = isOwn ? "the jump host's own resolver" : 'from the jump host';
    const others = isOwn ? silent.filter((it) => !it.isOwn).map(describe) : [];
    const why = others.length === 0 ? '' : `: ${others.join('; ')}`;
    const who = `names are asked of ${formatDestination(server)}, ${where}${why}`;
    if (rank === 0) observer.log(candidates().named && !isOwn ? 'info' : 'notice', who);
    // In a network of its own no resolver may know the root.
    else if (isOwn) observer.log('notice', `${who}; ${said}, so it may know some names only`);
    else
      observer.log('warning', `${who}; ${said}, so names may not resolve`, {
        hint: 'it may know some names only, or refuse strangers: name another with --dns-server',
      });
  }

  /** What came of all candidates, in their order. Never rejects. */
  #tryAll(tryMs: number): Promise<Outcome[]> {
    const { candidates, headStartMs = HEAD_START_MS } = this.#options;
    const { servers, named, own } = candidates();
    const given = new Set(servers.map(formatDestination));
    const all = [
      ...servers.map((server) => ({ server, isOwn: false })),
      ...own
        .filter((server) => !given.has(formatDestination(server)))
        .map((server) => ({ server, isOwn: true })),
    ];
    const outcomes: (Outcome | undefined)[] = all.map(() => undefined);
    const began = performance.now();
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        for (const one of this.#tries) one.close();
        const late = { rank: undefined, said: 'no answer in time' };
        resolve(all.map((it, i) => outcomes[i] ?? { ...it, ...late }));
      };
      let timer = setTimeout(finish, tryMs);
      const settled = (index: number, outcome: Outcome) => {
        outcomes[index] = outcome;
        const useful = outcomes.findIndex((it) => it?.rank === 0);
        const waitedFor = useful < 0 ? outcomes : outcomes.slice(0, useful);
        if (!waitedFor.includes(undefined)) return finish();
        if (useful !== index) return;
        clearTimeout(timer);
        timer = setTimeout(finish, Math.min(headStartMs, tryMs - (performance.now() - began)));
      };
      for (const [index, it] of all.entries())
        void this.#try(it.server, tryMs).then(({ rcode, said }) => {
          const rank = rcode === undefined ? undefined : rankOf(rcode, named && !it.isOwn);
          settled(index, { ...it, rank, said });
        });
    });
  }

  /** Never rejects. */
  async #try(
    server: Destination,
    tryMs: number,
  ): Promise<{ readonly rcode: number | undefined; readonly said: string }> {
    const { connect, connectToTry = connect, domains } = this.#options;
    const [name = ROOT] = domains;
    const one = new StreamUpstream({
      servers: [server],
      connect: connectToTry,
      observer: silentObserver,
      attemptTimeoutMs: tryMs,
      totalTimeoutMs: tryMs,
    });
    this.#tries.add(one);
    try {
      const question = questionFor(name, name === ROOT ? Type.NS : Type.SOA);
      const { rcode } = await one.resolve(question);
      return { rcode, said: `it answers ${RCODES[rcode] ?? `code ${rcode}`}` };
    } catch (error) {
      return { rcode: undefined, said: reasonOf(error) };
    } finally {
      this.#tries.delete(one);
      one.close();
    }
  }

  #requireOpen(): void {
    if (this.#closed) throw closed();
  }
}

const OVER_TCP =
  'the tunnel asks over TCP: have TCP to this port permitted there, or name another resolver with --dns-server';

function closed(): TunnelError {
  return upstreamError('closed', 'the resolvers are not asked any more');
}

const RCODES: Readonly<Record<number, string>> = {
  [Rcode.SERVFAIL]: 'SERVFAIL',
  [Rcode.NOTIMP]: 'NOTIMP',
  [Rcode.REFUSED]: 'REFUSED',
  [Rcode.FORMERR]: 'FORMERR',
};

/** 0: useful. */
function rankOf(rcode: number, named: boolean): number {
  if (named || rcode === Rcode.NOERROR || rcode === Rcode.NXDOMAIN) return 0;
  return rcode === Rcode.SERVFAIL ? 1 : 2;
}

/** Those that have answered, the best first, else in their order. */
function ranked(outcomes: readonly Outcome[]): Outcome[] {
  return [0, 1, 2].flatMap((rank) => outcomes.filter((it) => it.rank === rank));
}

function serversOf(outcomes: readonly Outcome[]): Destination[] {
  return outcomes.map(({ server }) => server);
}

function describe({ server, said }: Outcome): string {
  const at = formatDestination(server);
  return said.startsWith(at) ? said : `${at}: ${said}`;
}

function noResolver(outcomes: readonly Outcome[], triedOwn: boolean): TunnelError {
  const tried = outcomes.map(describe).join('; ');
  return new TunnelError('dns-no-resolver', `no resolver answers behind the jump host: ${tried}`, {
    hint: triedOwn
      ? 'name one that the jump host reaches over TCP with --dns-server, and have its PermitOpen permit that'
      : "name another with --dns-server, or add --dns: then the jump host's own resolver is tried as well",
  });
}
