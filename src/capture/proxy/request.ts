/**
 * A proxy client's request for a byte stream: ClientFlow for SOCKS, ProxyFlow for CONNECT. Once it
 * is answered, the client's socket is the flow.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { GiveUp } from '../../base/giveup.ts';
import { TunnelError } from '../../errors/errors.ts';
import type { Conduit } from '../../flow/conduit.ts';
import { type FlowRequest, nextFlowId } from '../../flow/request.ts';
import { StreamConduit } from '../../flow/streamconduit.ts';
import { canonicalAddress, isAddress } from '../../net/address.ts';
import type { Destination } from '../../net/destination.ts';
import type { Refusal } from '../../net/refusal.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Admission } from './admission.ts';
import { FAREWELL_TIMEOUT_MS, type ProxyClient } from './client.ts';
import type { Credentials } from './credentials.ts';
import type { Guesses } from './guesses.ts';

/** Makes the script for browsers of a proxy at this address: `127.0.0.1:1080`. In ASCII. */
export type WritePac = (proxy: string) => string;

/** What the fronts (socks.ts, http.ts) need from the capture. */
export interface ProxyContext {
  readonly accept: (request: FlowRequest) => void;
  readonly admission: Admission;
  /** undefined: clients need not authenticate. */
  readonly credentials: Credentials | undefined;
  readonly guesses: Guesses;
  /** undefined: there is no /proxy.pac. */
  readonly pac: WritePac | undefined;
  readonly observer: Observer;
}

/** The protocol's replies for success and failure. */
export interface ProxyReplies {
  success(): Buffer;
  failure(refusal: Refusal, why: string): Buffer;
}

export interface ClientReplies {
  readonly success: Buffer;
  readonly failure: (refusal: Refusal) => Buffer;
}

/** Of a client that is held. */
export class ClientFlow implements FlowRequest {
  readonly id = nextFlowId();
  readonly destination: Destination;
  readonly signal = new GiveUp();
  readonly #client: ProxyClient;
  readonly #replies: ClientReplies;

  constructor(client: ProxyClient, destination: Destination, replies: ClientReplies) {
    this.destination = destination;
    this.#client = client;
    this.#replies = replies;
  }

  get source(): Destination {
    return this.#client.source;
  }

  get peer(): Destination {
    return this.#client.proxyEnd;
  }

  open(): Conduit | undefined {
    return this.#client.open(this.#replies.success);
  }

  refuse(refusal: Refusal): void {
    this.#client.endWith(this.#replies.failure(refusal));
  }

  /** The client has left. */
  giveUp(): void {
    this.signal.abort(gaveUp());
  }
}

export class ProxyFlow implements FlowRequest {
  readonly id = nextFlowId();
  readonly source: Destination;
  readonly destination: Destination;
  readonly peer: Destination;
  readonly signal = new GiveUp();
  readonly #socket: Socket;
  readonly #replies: ProxyReplies;
  readonly #unwatch: () => void;

  constructor(socket: Socket, destination: Destination, replies: ProxyReplies) {
    this.source = clientOf(socket);
    this.peer = proxyEndOf(socket);
    this.destination = destination;
    this.#socket = socket;
    this.#replies = replies;
    this.#unwatch = watchForEnd(socket, () => {
      this.signal.abort(gaveUp());
      socket.destroy();
    });
  }

  open(): Conduit | undefined {
    this.#unwatch();
    if (this.#socket.destroyed) return undefined;
    this.#socket.write(this.#replies.success());
    return new StreamConduit(this.#socket);
  }

  refuse(refusal: Refusal, why = refusal): void {
    this.#unwatch();
    endWith(this.#socket, this.#replies.failure(refusal, why));
  }
}

export function gaveUp(): TunnelError {
  return new TunnelError('flow-given-up', 'the client has closed its connection to the proxy');
}

/** The client's own address and port. */
export function clientOf({ remoteAddress = '', remotePort = 0 }: Socket): Destination {
  return endOf(remoteAddress, remotePort);
}

/** The address and port that the client has connected to. */
export function proxyEndOf({ localAddress = '', localPort = 0 }: Socket): Destination {
  return endOf(localAddress, localPort);
}

/** The kernel writes IPv4 addresses in the only way there is, so only others are looked at. */
function endOf(address: string, port: number): Destination {
  const isOther = address.includes(':') && isAddress(address);
  return { host: isOther ? canonicalAddress(address) : address, port };
}

/**
 * Calls `ended` once when a socket that nobody reads is closed, or ends with nothing left to read.
 * That is how a client that closes while it waits is noticed. The socket flows meanwhile. The first
 * chunk that arrives is put back and pauses the socket, so no more than one chunk is read. An end
 * after such bytes isn't noticed here: the later reader finds it. Returns a function that stops the
 * watch.
 */
export function watchForEnd(socket: Duplex, ended: () => void): () => void {
  const onData = (chunk: Buffer) => keepUnread(socket, chunk);
  const end = () => {
    stop();
    ended();
  };
  const stop = () => {
    socket.off('data', onData);
    socket.off('end', end);
    socket.off('close', end);
  };
  socket.on('data', onData);
  socket.on('end', end);
  socket.on('close', end);
  if (socket.destroyed) process.nextTick(end);
  return stop;
}

/** Puts back what a later reader is to have, and reads no more until then. */
export function keepUnread(socket: Duplex, chunk: Buffer): void {
  socket.pause();
  socket.unshift(chunk);
}

/**
 * Writes the last bytes and closes the socket so that they arrive. Whatever the client still sends
 * is read and dropped, because closing with unread bytes would send a reset that overtakes them.
 */
export function endWith(socket: Duplex, last: Buffer): void {
  if (socket.destroyed) return;
  const timer = setTimeout(() => socket.destroy(), FAREWELL_TIMEOUT_MS).unref();
  socket.once('close', () => clearTimeout(timer));
  socket.end(last);
  socket.resume();
}
