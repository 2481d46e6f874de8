/** A client with a socket of Node's (client.ts). */
import type { Socket } from 'node:net';
import type { Conduit } from '../../flow/conduit.ts';
import { StreamConduit } from '../../flow/streamconduit.ts';
import type { Destination } from '../../net/destination.ts';
import type { Place } from './admission.ts';
import type { ClientListener, ProxyClient } from './client.ts';
import { clientOf, endWith, keepUnread, proxyEndOf } from './request.ts';

export class SocketClient implements ProxyClient {
  readonly place: Place;
  readonly socket: Socket;
  #listener: ClientListener | undefined;
  #held = false;

  constructor(socket: Socket, place: Place) {
    this.socket = socket;
    this.place = place;
  }

  get source(): Destination {
    return clientOf(this.socket);
  }

  get proxyEnd(): Destination {
    return proxyEndOf(this.socket);
  }

  get closed(): boolean {
    return this.socket.destroyed;
  }

  follow(listener: ClientListener): void {
    const { socket } = this;
    if (this.#listener === undefined) {
      socket.on('data', this.#onData);
      socket.on('end', this.#onEnd);
      socket.on('close', this.#onEnd);
    }
    this.#listener = listener;
  }

  /** Gives the socket up: to who listens to it then. */
  release(): Socket {
    const { socket } = this;
    this.#listener = undefined;
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onEnd);
    return socket;
  }

  write(octets: Buffer): void {
    this.socket.write(octets);
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  /** The first chunk that arrives is put back and pauses the socket: no more than that is read. */
  hold(octets: Buffer): void {
    this.#held = true;
    if (octets.length > 0) keepUnread(this.socket, octets);
  }

  open(reply: Buffer): Conduit | undefined {
    const socket = this.release();
    if (socket.destroyed) return undefined;
    socket.write(reply);
    return new StreamConduit(socket);
  }

  endWith(last: Buffer): void {
    endWith(this.release(), last);
  }

  destroy(): void {
    this.release().destroy();
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#held) keepUnread(this.socket, chunk);
    else this.#listener?.octets(chunk);
  };

  readonly #onEnd = (): void => {
    const listener = this.#listener;
    this.release();
    listener?.end();
  };
}
