/**
 * Other tunnels with names on this machine, and which of them answers for a name.
 *
 *   queries ─► whichever tunnel the kernel's route, systemd-resolved or resolv.conf leads to
 *                │ its own claims, and those of the others (dns/claims.ts): who is closest?
 *                ├─ itself      ─► answered here
 *                └─ another one ─► asked at its peer address (sharedaddresses.ts), on a socket that
 *                                  is bound to its device ─► its answer
 *
 * The kernel's list of devices says who is there. What each claims it says itself, in a TXT record
 * of class CHAOS, as servers tell about themselves. There is no file and no lock.
 *
 * A claim belongs to a device, by the kernel's number of it, which no later device gets. It is
 * asked for on a socket that is bound to that device where the kernel permits that (Linux 5.7), and
 * no other tunnel may capture anything in the device's block (native/helper/routes.h). Only the
 * holder of its descriptor can make it:
 *
 *   to make one      the holder of the device, once: the first answer counts for as long as the
 *                    device is there
 *   to withdraw it   the kernel, when the device goes. No message does, nor a refusal or failure:
 *                    whoever overloads a tunnel doesn't get its names
 *   to replace it    nobody. What is closer comes before it. If two have the same claim, that of
 *                    the older device counts, though the later tunnel should have ended
 *
 * A message from anybody else, as a greeting may be, only makes a tunnel look at devices that it
 * hasn't heard yet.
 *
 *   a tunnel starts   look()     before it has routes: it knows who has which names, and ends if
 *                                somebody has the same
 *                     greet()    once it answers: the others look at it before they reply, so all
 *                                know it before it is ready; again it ends if there is a conflict
 *   while it runs     hearAll()  it is greeted: it fails until it has heard all that are there
 *                     refresh()  a device has gone: its names are this machine's again
 *
 * Of two that start at once with the same names at least one ends. Neither waits for the other:
 * what a look asks for is answered without looking.
 *
 * One that refuses a connection has no names. One that is silent or busy may have some: it counts
 * as unheard, and is asked again at each of these occasions.
 */
import type { Socket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';
import { within } from '../../base/within.ts';
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import type { Destination } from '../../net/destination.ts';
import type { Observer } from '../../observe/observer.ts';
import { Claims, UNCLAIMED } from '../claims.ts';
import { DatagramUpstream } from '../upstream/datagram.ts';
import { type Resolver, upstreamError } from '../upstream/resolver.ts';
import { StreamUpstream, type StreamUpstreamOptions } from '../upstream/stream.ts';
import { CLASS_CHAOS, Rcode, readMessage, Section, Type } from '../wire/message.ts';
import { makeQuestion } from '../wire/query.ts';
import { peerAddress } from './sharedaddresses.ts';

/** What a tunnel is asked about itself. */
export const CLAIMS_NAME = 'claims.tunnel';
/** The same, after it has looked at the one that asks. */
export const GREETING_NAME = 'greeting.tunnel';
/** What fits into one answer. */
export const MAX_CLAIMS_BYTES = 60_000;
/** In place of claims that don't fit. */
export const TOO_MANY_CLAIMS = '+';
const DNS_PORT = 53;
/** A tunnel that has not begun to answer, or is stopped. */
const LOOK_MS = 1000;
/** The one that is greeted looks first. */
const GREET_MS = 4000;
/** Before one is greeted again that has failed: it is overloaded, or ends. */
const GREET_AGAIN_MS = 200;
/** errno(3) where no socket can be had now. */
const SHORTAGES: ReadonlySet<unknown> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM']);
/** Claims named in one message. */
const MAX_NAMED = 8;

/** The device of another tunnel, and its own address there. */
export interface OtherTunnel {
  readonly device: string;
  /** The kernel's number of the device: the later it was made, the higher. */
  readonly index: number;
  readonly address: string;
}

export interface NeighboursOptions {
  /** All of them, without this tunnel's own. */
  readonly find: () => readonly OtherTunnel[];
  /** Both throw or reject if the device has gone. */
  readonly socketFor: (tunnel: OtherTunnel, server: Destination) => Socket;
  readonly connect: (tunnel: OtherTunnel) => StreamUpstreamOptions['connect'];
  readonly observer: Observer;
  /** Milliseconds; default LOOK_MS and GREET_MS. */
  readonly lookMs?: number;
  readonly greetMs?: number;
}

/** What a tunnel has answered. `refused`: it has no names, or has gone. */
type Reply = readonly string[] | 'refused' | 'unheard';

interface Neighbour {
  readonly tunnel: OtherTunnel;
  readonly claims: Claims;
  readonly resolver: Resolver;
}

export class Neighbours {
  readonly #options: NeighboursOptions;
  /** The oldest device first. */
  #known: readonly Neighbour[] = [];
  /** Whom the last look may have missed; completes "... can't be heard". */
  #unheard: string | undefined;
  #last: Promise<void> = Promise.resolve();
  /** Waits for its turn. */
  #nextLook: Promise<void> | undefined;
  #closed = false;

  constructor(options: NeighboursOptions) {
    this.#options = options;
  }

  /** Asks all others for their claims. Rejects with TunnelError `already-running`. */
  async look(own: Claims): Promise<void> {
    await this.refresh(true);
    this.#requireApart(own);
  }

  /** Has all others look at this one, and asks them again. Rejects as `look` does. */
  async greet(own: Claims): Promise<void> {
    const others = this.#options.find();
    if (others.length === 0) return;
    if (claimStrings(own).includes(TOO_MANY_CLAIMS))
      throw conflict(others[0], `this tunnel has more names than it can tell ${others[0]?.device}`);
    // Out of turn: two tunnels may greet each other, and each looks at the other one in its turn.
    const replies = await Promise.all(
      others.map(async (tunnel) => ({ tunnel, reply: await this.#greeted(tunnel) })),
    );
    for (const { tunnel, reply } of replies)
      if (reply === 'unheard')
        throw conflict(
          tunnel,
          `the tunnel of ${tunnel.device} doesn't say which names are its own`,
        );
    await this.#inTurn(async () => this.#add(replies));
    await this.refresh(true);
    this.#requireApart(own);
  }

  /**
   * Asks those that aren't known yet. Rejects with TunnelError `dns-busy` if one is there that was
   * silent or busy, as the one that greets may be, or if it can't be known who is there.
   */
  async hearAll(): Promise<void> {
    await this.refresh(true);
    if (this.#unheard !== undefined) throw upstreamError('busy', `${this.#unheard} can't be heard`);
  }

  /**
   * Forgets those that have gone, and asks again those that were not heard. `again`: asks all that
   * aren't known yet. Never rejects.
   */
  async refresh(again = false): Promise<void> {
    if (again || this.#unheard !== undefined) {
      // However many ask for it meanwhile: a greeting of any program does.
      this.#nextLook ??= this.#inTurn(async () => {
        this.#nextLook = undefined;
        await this.#lookAtNew();
      });
      return this.#nextLook;
    }
    await this.#inTurn(async () => {
      const there = this.#there();
      if (there !== undefined) this.#keep(this.#stillThere(there));
    });
  }

  /** The devices of those that are known. */
  get devices(): readonly string[] {
    return this.#known.map(({ tunnel }) => tunnel.device);
  }

  /** Who answers for a name that is claimed here with this rank. Undefined: nobody is closer. */
  ownerOf(name: string, rank: number): Resolver | undefined {
    let best: Neighbour | undefined;
    let bestRank = rank;
    for (const neighbour of this.#known) {
      const theirs = neighbour.claims.rank(name);
      if (theirs === UNCLAIMED || theirs <= bestRank) continue;
      best = neighbour;
      bestRank = theirs;
    }
    if (best !== undefined) this.#options.observer.count('tunnel_dns_passed_on_total');
    return best?.resolver;
  }

  close(): void {
    this.#closed = true;
    this.#keep([]);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.then(
      () => {},
      () => {}, // the caller gets the error
    );
    return done;
  }

  /** What one answers to a greeting. One that is busy is greeted again in that time. */
  async #greeted(tunnel: OtherTunnel): Promise<Reply> {
    const deadline = performance.now() + (this.#options.greetMs ?? GREET_MS);
    for (;;) {
      try {
        return await this.#claims(tunnel, GREETING_NAME, deadline - performance.now());
      } catch (error) {
        if (!mayHaveNames(error)) return 'refused';
        if (performance.now() + GREET_AGAIN_MS >= deadline) return 'unheard';
        await sleep(GREET_AGAIN_MS);
      }
    }
  }

  async #lookAtNew(): Promise<void> {
    const there = this.#there();
    if (there === undefined) {
      this.#unheard = 'a tunnel that may be there';
      return;
    }
    this.#keep(this.#stillThere(there));
    const asked = there
      .filter((tunnel) => !this.#isKnown(tunnel))
      .map(async (tunnel) => ({ tunnel, reply: await this.#lookedAt(tunnel) }));
    const replies = await Promise.all(asked);
    this.#add(replies);
    this.#unheard = replies.find(({ reply }) => reply === 'unheard')?.tunnel.device;
  }

  async #lookedAt(tunnel: OtherTunnel): Promise<Reply> {
    try {
      return await this.#claims(tunnel, CLAIMS_NAME, this.#options.lookMs ?? LOOK_MS);
    } catch (error) {
      return mayHaveNames(error) ? 'unheard' : 'refused';
    }
  }

  /** The first answer of each counts. */
  #add(replies: readonly { readonly tunnel: OtherTunnel; readonly reply: Reply }[]): void {
    const heard = replies.flatMap(({ tunnel, reply }) =>
      typeof reply === 'string' || this.#isKnown(tunnel) ? [] : [this.#neighbour(tunnel, reply)],
    );
    this.#keep([...this.#known, ...heard].sort((a, b) => a.tunnel.index - b.tunnel.index));
  }

  #isKnown(tunnel: OtherTunnel): boolean {
    return this.#known.some((it) => isSame(it.tunnel, tunnel));
  }

  /** Undefined if the kernel can't be asked: no descriptor may be left for that. */
  #there(): readonly OtherTunnel[] | undefined {
    try {
      return this.#options.find();
    } catch (error) {
      this.#options.observer.log('debug', `other tunnels can't be looked for: ${reasonOf(error)}`);
      return undefined;
    }
  }

  #stillThere(there: readonly OtherTunnel[]): Neighbour[] {
    return this.#known.filter(({ tunnel }) => there.some((it) => isSame(it, tunnel)));
  }

  #keep(neighbours: readonly Neighbour[]): void {
    for (const { resolver } of this.#known.filter((it) => !neighbours.includes(it)))
      resolver.close();
    this.#known = this.#closed ? [] : neighbours;
  }

  #neighbour(tunnel: OtherTunnel, texts: readonly string[]): Neighbour {
    const { socketFor, connect, observer } = this.#options;
    const server = serverOf(tunnel);
    const resolver = new DatagramUpstream({
      servers: [server],
      overStream: () =>
        new StreamUpstream({ servers: [server], connect: connect(tunnel), observer }),
      socketFor: () => socketFor(tunnel, server),
      observer,
    });
    return { tunnel, claims: new Claims(texts), resolver };
  }

  /** Rejects with TunnelError `dns-*`. */
  async #claims(tunnel: OtherTunnel, name: string, milliseconds: number): Promise<string[]> {
    const { connect, observer } = this.#options;
    const late = () =>
      new TunnelError('dns-timeout', `${tunnel.device} did not answer in ${milliseconds} ms`);
    const upstream = new StreamUpstream({
      servers: [serverOf(tunnel)],
      connect: connect(tunnel),
      observer,
    });
    try {
      const answer = await within({ time: { milliseconds, late } }, () =>
        upstream.resolve(chaosQuestion(name)),
      );
      if (answer.rcode !== Rcode.NOERROR)
        throw upstreamError('busy', `${tunnel.device} can't say which names are its own`);
      return textsIn(answer.message);
    } finally {
      upstream.close();
    }
  }

  #requireApart(own: Claims): void {
    for (const { tunnel, claims } of this.#known) {
      if (claims.texts.includes(TOO_MANY_CLAIMS))
        throw conflict(tunnel, `the tunnel of ${tunnel.device} has more names than it can tell`);
      const shared = own.sharedWith(claims);
      if (shared.length === 0) continue;
      const some = shared.slice(0, MAX_NAMED).map((text) => (text === '.' ? 'all names' : text));
      const rest = shared.length > MAX_NAMED ? ` and ${shared.length - MAX_NAMED} more` : '';
      const what = `${some.join(', ')}${rest}`;
      throw conflict(tunnel, `another tunnel, ${tunnel.device}, already answers for ${what}`);
    }
  }
}

/** The claims as the strings of a TXT record. */
export function claimStrings({ texts }: Claims): readonly string[] {
  const bytes = texts.reduce((sum, text) => sum + text.length + 1, 0);
  return bytes > MAX_CLAIMS_BYTES ? [TOO_MANY_CLAIMS] : texts;
}

function conflict(tunnel: OtherTunnel | undefined, message: string): TunnelError {
  return new TunnelError('already-running', message, {
    hint: `leave it to one of the two, or end the other one (its device is ${tunnel?.device}); "tunnel exec" is not affected`,
  });
}

/** Of one that gave no claims: it was silent or busy, or this program could not ask it. */
function mayHaveNames(error: unknown): boolean {
  if (!(error instanceof TunnelError)) return false;
  return error.code === 'dns-timeout' || error.code === 'dns-busy' || isShortage(error);
}

function isShortage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error ? error.code : undefined;
  return SHORTAGES.has(code) || isShortage(error.cause);
}

function isSame(a: OtherTunnel, b: OtherTunnel): boolean {
  return a.index === b.index && a.device === b.device && a.address === b.address;
}

function serverOf({ address }: OtherTunnel): Destination {
  return { host: peerAddress(address), port: DNS_PORT };
}

function chaosQuestion(name: string) {
  const labels = name.split('.').map((label) => Buffer.from([label.length, ...Buffer.from(label)]));
  return makeQuestion({
    wire: Buffer.concat([...labels, Buffer.of(0)]),
    type: Type.TXT,
    class: CLASS_CHAOS,
    dnssecOk: false,
    checkingDisabled: false,
  });
}

/** The strings of the TXT records of an answer that was checked. */
function textsIn(message: Uint8Array): string[] {
  const texts: string[] = [];
  for (const { section, type, dataStart, dataEnd } of readMessage(message).records) {
    if (section !== Section.ANSWER || type !== Type.TXT) continue;
    for (let at = dataStart; at < dataEnd; ) {
      const end = Math.min(at + 1 + (message[at] ?? 0), dataEnd);
      texts.push(Buffer.from(message.subarray(at + 1, end)).toString('latin1'));
      at = end;
    }
  }
  return texts;
}
