/**
 * The proxies in this process, with a transport in memory behind them, and a client that sends and
 * reads octets.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type Credential, Credentials } from '../../src/capture/proxy/credentials.ts';
import {
  type OwnUserCheck,
  ProxyCapture,
  type ProxyListen,
} from '../../src/capture/proxy/proxy.ts';
import type { WritePac } from '../../src/capture/proxy/request.ts';
import { Flows } from '../../src/flow/flows.ts';
import type { FlowRequest } from '../../src/flow/request.ts';
import type { Observer } from '../../src/observe/observer.ts';
import { createPolicy } from '../../src/policy/policy.ts';
import { TwinTransport } from './twin.ts';

/** Until a wrong password is answered, in ms. */
export const GUESS_MS = 1000;

export interface TestProxyOptions {
  readonly protocols?: ProxyListen['protocols'];
  readonly hosts?: ProxyListen['hosts'];
  readonly credentials?: readonly Credential[];
  readonly descriptors?: number;
  readonly negotiationTimeout?: number;
  /** undefined: the listener is for all users. */
  readonly isOwnUser?: OwnUserCheck;
  /** undefined: there is no /proxy.pac. */
  readonly pac?: WritePac | undefined;
  /** Default: true. */
  readonly nativeSockets?: boolean;
}

export interface TestProxy {
  readonly twin: TwinTransport;
  readonly port: number;
  readonly addresses: readonly string[];
  readonly pacUrl: string | undefined;
  readonly counters: Map<string, number>;
  /** One for each request, in order. */
  readonly ids: readonly number[];
  /** A connection whose errors don't end the test. */
  open(): Promise<Client>;
  close(): Promise<void>;
}

/** Carries everything to the twin, by name, like `tunnel proxy` without targets. */
export async function startProxy(options: TestProxyOptions = {}): Promise<TestProxy> {
  const {
    protocols = 'both',
    hosts = ['127.0.0.1'],
    credentials,
    descriptors = 4096,
    negotiationTimeout = 30_000,
    isOwnUser,
    pac,
    nativeSockets = true,
  } = options;
  const twin = new TwinTransport();
  const counters = new Map<string, number>();
  const observer: Observer = {
    log() {},
    count: (name, n = 1) => counters.set(name, (counters.get(name) ?? 0) + n),
  };
  const flows = new Flows({
    policy: createPolicy({ targets: [], exclusions: [] }, { beyond: 'tunnel', proxied: true }),
    tunnel: twin,
    direct: twin,
    resolve: async () => [],
    observer,
  });
  const capture = new ProxyCapture({
    listens: [{ hosts, port: 0, protocols, ownUserOnly: isOwnUser !== undefined }],
    credentials: credentials && new Credentials(credentials),
    isOwnUser: isOwnUser ?? (() => assert.fail('the listener is for all users')),
    ...(pac === undefined ? {} : { pac }),
    observer,
    descriptors,
    negotiationTimeout,
    wrongPasswordDelay: GUESS_MS,
    nativeSockets,
  });
  const ids: number[] = [];
  const accept = (request: FlowRequest) => {
    ids.push(request.id);
    flows.accept(request);
  };
  await capture.start({ accept }, new AbortController().signal);
  const port = Number(capture.addresses[0]?.split(':').at(-1));
  return {
    twin,
    port,
    addresses: capture.addresses,
    pacUrl: capture.pacUrl,
    counters,
    ids,
    open: () => Client.open(port),
    close: async () => {
      await capture.close();
      await twin.close();
    },
  };
}

export class Client {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  /** Chunks after #received; joined when it is read. */
  #chunks: Buffer[] = [];
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {}); // `closed` says how it ended
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#wake();
    });
    socket.on('end', () => this.#wake());
    socket.on('close', () => this.#wake());
  }

  static async open(port: number): Promise<Client> {
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    const client = new Client(socket);
    await once(socket, 'connect');
    return client;
  }

  send(data: Uint8Array | string): void {
    this.socket.write(data);
  }

  /** The next `length` octets, or fewer if the connection ends before. */
  async take(length: number): Promise<Buffer> {
    await this.#until((received) => received().length >= length);
    const taken = this.#received.subarray(0, length);
    this.#received = this.#received.subarray(length);
    return taken;
  }

  /** Everything up to and including `mark`, or up to the connection's end. */
  async takeThrough(mark: string): Promise<string> {
    await this.#until((received) => received().includes(mark));
    const at = this.#received.indexOf(mark);
    return (await this.take(at === -1 ? this.#received.length : at + mark.length)).toString(
      'latin1',
    );
  }

  /** Everything up to the end. */
  async rest(): Promise<string> {
    await this.#until(() => false);
    return (await this.take(Number.MAX_SAFE_INTEGER)).toString('latin1');
  }

  close(): void {
    this.socket.destroy();
  }

  #join(): Buffer {
    if (this.#chunks.length > 0) this.#received = Buffer.concat([this.#received, ...this.#chunks]);
    this.#chunks = [];
    return this.#received;
  }

  async #until(condition: (received: () => Buffer) => boolean): Promise<void> {
    while (!condition(() => this.#join()) && !this.socket.readableEnded && !this.socket.closed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#join();
  }
}
