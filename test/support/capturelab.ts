/**
 * A client whose routes and rules a test changes while a tunnel runs. What ip(8) was told is undone
 * after each test.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before } from 'node:test';
import { Lab } from './lab.ts';
import type { Child } from './process.ts';
import { startTunnel } from './tunnel.ts';

/** An event is looked at within NETWATCH_SETTLE_MS; the rest is a margin for a busy machine. */
export const NOTICED_MS = 5_000;

export class CaptureLab {
  #lab: Lab | undefined;
  #undo: string[] = [];
  #tunnel: Child | undefined;

  /** Within a `describe`: there is a lab for all its tests. */
  constructor() {
    before(async () => {
      this.#lab = await Lab.create();
    });
    after(() => this.#lab?.close());
    afterEach(async () => {
      await this.#tunnel?.stop('SIGINT');
      this.#tunnel = undefined;
      for (const line of this.#undo.splice(0).toReversed())
        await this.client.exec(['ip', ...line.split(' ')]);
    });
  }

  get client(): Lab['client'] {
    assert.ok(this.#lab !== undefined);
    return this.#lab.client;
  }

  /** `reverse` undoes it. */
  async ip(line: string, reverse = line.replace(/\b(add|prepend)\b/, 'del')): Promise<void> {
    const { status, stderr } = await this.client.exec(['ip', ...line.split(' ')]);
    assert.equal(status, 0, `${line}: ${stderr}`);
    this.#undo.push(reverse);
  }

  /** Until the test ends. */
  async start(...args: string[]): Promise<Child> {
    this.#tunnel = await startTunnel(this.client, args);
    return this.#tunnel;
  }

  /** `carried` if the API host answers: only through the tunnel it can. */
  async fetch(address: string): Promise<string> {
    const host = address.includes(':') ? `[${address}]` : address;
    const argv = ['curl', '-gsS', '--max-time', '5', `http://${host}/`];
    const { stdout, stderr } = await this.client.exec(argv);
    return stdout === '' ? stderr : 'carried';
  }

  async deviceTo(address: string): Promise<string> {
    const { stdout } = await this.client.exec(['ip', 'route', 'get', address]);
    return / dev (\S+)/.exec(stdout)?.[1] ?? stdout;
  }
}
