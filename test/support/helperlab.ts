/** Network namespaces with programs that use the privileged helper (helperclient.ts). */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { HELPER_PATH } from '../../src/native/addon.ts';
import { hostState } from './hoststate.ts';
import { Child, mustRun, run, SEARCH_PATH } from './process.ts';
import { processEntry } from './processtable.ts';
import { AT_ONCE_MS } from './until.ts';

export const CLIENT = fileURLToPath(new URL('./helperclient.js', import.meta.url));
/** The limit for an answer: longer than the program's own limit (REQUEST_TIMEOUT_MS). */
const ANSWER_LIMIT_MS = 15_000;
const POLL_MS = 20;
const MTU = 65520;

/**
 * The helper under test. The tests also run with a build under AddressSanitizer and UBSan, which
 * this variable names.
 */
export const TESTED_HELPER = process.env['TUNNEL_TEST_HELPER'] ?? HELPER_PATH;

export interface ClientError {
  readonly code?: string;
  readonly message: string;
  readonly hint?: string;
}

interface Outcome {
  readonly result?: unknown;
  readonly error?: ClientError;
}

export interface Device {
  readonly fd: number;
  readonly name: string;
  readonly ifindex: number;
  readonly address4?: string;
  readonly address6?: string;
}

/** One running helperclient. */
export class HelperClient {
  readonly child: Child;
  readonly #write: (line: string) => void;
  #id = 0;

  constructor(child: Child, write: (line: string) => void) {
    this.child = child;
    this.#write = write;
  }

  async ask(op: string, ...args: readonly string[]): Promise<Outcome> {
    this.#id += 1;
    this.#write(`${JSON.stringify({ id: this.#id, op, args })}\n`);
    const [, line = ''] = await this.child.waitForLine(
      new RegExp(`^< (\\{"id":${this.#id},.*\\})\\r?\\n`, 'm'),
      ANSWER_LIMIT_MS,
    );
    return JSON.parse(line) as Outcome;
  }

  async must(op: string, ...args: readonly string[]): Promise<unknown> {
    const { result, error } = await this.ask(op, ...args);
    assert.equal(error, undefined, `${op} ${args.join(' ')}: ${error?.message}`);
    return result;
  }

  async fails(op: string, ...args: readonly string[]): Promise<ClientError> {
    const { error } = await this.ask(op, ...args);
    assert.ok(error !== undefined, `${op} ${args.join(' ')} did not fail`);
    return error;
  }

  /** Starts the helper; returns its pid. */
  async start(): Promise<number> {
    const { pid } = (await this.must('start', TESTED_HELPER)) as { pid: number };
    return pid;
  }

  async create(ipv4 = true, ipv6 = true): Promise<Device> {
    return (await this.must('create', String(ipv4), String(ipv6), String(MTU))) as Device;
  }

  async stop(): Promise<void> {
    this.#write(`${JSON.stringify({ op: 'quit' })}\n`);
    await this.child.wait(AT_ONCE_MS);
  }
}

export class HelperNamespace {
  readonly name: string;
  readonly #clients: HelperClient[] = [];
  static #count = 0;

  private constructor(name: string) {
    this.name = name;
  }

  static async make(): Promise<HelperNamespace> {
    HelperNamespace.#count += 1;
    const namespace = new HelperNamespace(
      `tlh-${process.pid.toString(16)}-${HelperNamespace.#count}`,
    );
    await mustRun(['ip', 'netns', 'add', namespace.name]);
    return namespace;
  }

  ip(line: string): Promise<string> {
    return mustRun(['ip', '-n', this.name, ...line.split(' ')]);
  }

  /** Applies many lines of ip(8) at once. */
  async batch(lines: readonly string[]): Promise<void> {
    await mustRun(['ip', '-n', this.name, '-batch', '-'], { input: `${lines.join('\n')}\n` });
  }

  run(...argv: readonly string[]): Promise<string> {
    return mustRun(['ip', 'netns', 'exec', this.name, ...argv]);
  }

  /** The prefixes of the main table's routes to the device, sorted as text. */
  async routes(device: string): Promise<string[]> {
    const text =
      (await this.ip(`-4 route show dev ${device}`)) +
      (await this.ip(`-6 route show dev ${device}`));
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(' ')[0] ?? '')
      .sort();
  }

  /** Starts a client; `wrap` changes its command, which already enters the namespace. */
  async client(wrap: (argv: string[]) => string[] = (argv) => argv): Promise<HelperClient> {
    const argv = wrap(['ip', 'netns', 'exec', this.name, process.execPath, CLIENT]);
    const child = await Child.start(argv, {
      stdin: 'open',
      env: { PATH: SEARCH_PATH, LANG: 'C' },
    });
    const client = new HelperClient(child, (line) => child.write(line));
    this.#clients.push(client);
    await child.waitForLine(/^! \{"ready":true\}/m);
    return client;
  }

  adopt(client: HelperClient): void {
    this.#clients.push(client);
  }

  /** Starts a client with its helper and device. */
  async tunnel(
    ipv4 = true,
    ipv6 = true,
  ): Promise<{ client: HelperClient; helper: number; device: Device }> {
    const client = await this.client();
    const helper = await client.start();
    return { client, helper, device: await client.create(ipv4, ipv6) };
  }

  state(): Promise<string> {
    return hostState(this.name);
  }

  /** Fails unless the namespace is as before within the promised time. */
  async becomes(before: string): Promise<void> {
    const deadline = performance.now() + AT_ONCE_MS;
    while (performance.now() < deadline && (await this.state()) !== before) await delay(POLL_MS);
    assert.equal(await this.state(), before);
  }

  /** Kills all processes that still run and removes the namespace. */
  async remove(): Promise<void> {
    for (const { child } of this.#clients) {
      child.kill('SIGKILL');
      await child.exited;
    }
    // A stopped helper left by a failed test would stay for ever.
    const stopped = (await mustRun(['ip', 'netns', 'pids', this.name]))
      .split('\n')
      .filter((pid) => pid !== '');
    if (stopped.length > 0) await run(['kill', '-KILL', ...stopped]);
    await mustRun(['ip', 'netns', 'del', this.name]);
  }
}

/** Runs `body` in a fresh namespace, after applying `ipLines`. */
export async function inNamespace(
  ipLines: readonly string[],
  body: (namespace: HelperNamespace) => Promise<void>,
): Promise<void> {
  const namespace = await HelperNamespace.make();
  try {
    await namespace.batch(['link set lo up', ...ipLines]);
    await body(namespace);
  } finally {
    await namespace.remove();
  }
}

/** Resolves when the process has gone; fails when it doesn't. */
export async function untilGone(pid: number): Promise<void> {
  const deadline = performance.now() + AT_ONCE_MS;
  while (performance.now() < deadline) {
    // A zombie counts as gone too: when its new parent reaps it isn't up to the helper.
    if (processEntry(pid) === undefined) return;
    await delay(POLL_MS);
  }
  assert.fail(`process ${pid} still runs`);
}
