/**
 * A client of a forward, as a FlowRequest.
 *
 * Until it is answered, the client's bytes stay in its socket, except for one chunk, which is put
 * back. A client that resets its connection has given up. One that only ends its half may still
 * want what the far side says, so its end is passed on once the far side is connected.
 */
import type { Socket } from 'node:net';
import { GiveUp } from '../../base/giveup.ts';
import { TunnelError } from '../../errors/errors.ts';
import type { Conduit } from '../../flow/conduit.ts';
import { type FlowRequest, nextFlowId } from '../../flow/request.ts';
import { resetStream } from '../../flow/reset.ts';
import { StreamConduit } from '../../flow/streamconduit.ts';
import { canonicalAddress, isAddress } from '../../net/address.ts';
import type { Destination } from '../../net/destination.ts';

export class ForwardRequest implements FlowRequest {
  readonly id = nextFlowId();
  readonly source: Destination;
  readonly peer: Destination | undefined;
  readonly destination: Destination;
  readonly signal = new GiveUp();
  readonly #socket: Socket;

  /** `path`: of the Unix socket that it has connected to; it stands for the client as well. */
  constructor(socket: Socket, destination: Destination, path: string | undefined) {
    const { remoteAddress = '', remotePort = 0, localAddress = '', localPort = 0 } = socket;
    this.destination = destination;
    this.source = path === undefined ? endOf(remoteAddress, remotePort) : { host: path, port: 0 };
    this.peer = path === undefined ? endOf(localAddress, localPort) : undefined;
    this.#socket = socket;
    socket.on('data', this.#keep);
    socket.on('close', this.#gaveUp);
  }

  open(): Conduit | undefined {
    const socket = this.#socket;
    this.#release();
    if (socket.destroyed) return undefined;
    // Paused until somebody listens.
    socket.pause();
    return new StreamConduit(socket);
  }

  /** The client's connect has succeeded by now: it sees a reset. */
  refuse(): void {
    this.#release();
    resetStream(this.#socket);
  }

  #release(): void {
    this.#socket.off('data', this.#keep);
    this.#socket.off('close', this.#gaveUp);
  }

  readonly #keep = (chunk: Buffer): void => {
    this.#socket.pause();
    this.#socket.unshift(chunk);
  };

  readonly #gaveUp = (): void => {
    this.#release();
    this.signal.abort(new TunnelError('flow-given-up', 'the client has closed its connection'));
  };
}

function endOf(address: string, port: number): Destination {
  return { host: isAddress(address) ? canonicalAddress(address) : address, port };
}
