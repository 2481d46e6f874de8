/**
 * For the script of `tunnel jumphost keys-command`: the script with a cache and a log of its own,
 * as sshd would run it, and an HTTP source of keys. How old the cache is, the test decides: it sets
 * the times of its files.
 */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { KEYS_CACHE, renderKeysCommand } from '../../src/jumphost/keyscommand.ts';
import { GROUP, type KeySource } from '../../src/jumphost/plan.ts';
import { planOf } from './jumphostplan.ts';
import { type ExecResult, run } from './process.ts';

const DESTINATION = '10.0.0.5:443';
const NOBODY = 65534;
const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
const PATH_LINE = 'PATH=/usr/sbin:/usr/bin:/sbin:/bin';

/** A login of the script's group. */
export const LOGIN = process.getuid?.() === 0 ? 'nobody' : userInfo().username;

/** A public key that nobody has the private one of. */
export function publicKeyLine(comment: string): string {
  const blob = Buffer.concat([
    Buffer.from('\0\0\0\x0bssh-ed25519\0\0\0\x20', 'latin1'),
    randomBytes(32),
  ]);
  return `ssh-ed25519 ${blob.toString('base64')} ${comment}`;
}

export interface HttpSource {
  readonly url: string;
  /** Answered from now on. By default 404. */
  answer: RequestListener;
  /** Since the start. */
  requests: number;
  close(): Promise<void>;
}

/** On 127.0.0.1. */
export async function startSource(): Promise<HttpSource> {
  const server = createServer((request, response) => {
    source.requests++;
    source.answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  const source: HttpSource = {
    url: `http://127.0.0.1:${address.port}/keys`,
    answer: (_, response) => response.writeHead(404).end('nothing here\n'),
    requests: 0,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return source;
}

export interface KeyScriptOptions {
  /** What runs it instead of /bin/sh. */
  readonly shell?: readonly string[];
  /** A PATH instead of the system's. */
  readonly programs?: string;
  /** What a source has, instead of 20. */
  readonly sourceSeconds?: number;
}

export class KeyScript {
  readonly directory: string;
  readonly cache: string;
  readonly #path: string;
  readonly #shell: readonly string[];

  constructor(keysFrom: readonly KeySource[], options: KeyScriptOptions = {}) {
    const { shell = [], programs, sourceSeconds = 20 } = options;
    this.directory = mkdtempSync(join(tmpdir(), 'tunnel-keyscript-'));
    this.cache = join(this.directory, 'cache');
    this.#path = join(this.directory, 'tunnel-authorized-keys');
    this.#shell = shell;
    const [file] = renderKeysCommand(planOf([DESTINATION], { keysFrom }));
    const bin = join(this.directory, 'bin');
    mkdirSync(bin);
    writeFileSync(
      join(bin, 'logger'),
      `#!/bin/sh\nprintf '%s\\n' "$*" >>'${this.directory}/log'\n`,
      {
        mode: 0o755,
      },
    );
    const text = replaced(file?.text ?? '', [
      [`cache=${KEYS_CACHE}`, `cache='${this.cache}'`],
      [`group=${GROUP}`, 'group=$(id -gn)'],
      ['timeout -k 1 20 ', `timeout -k 1 ${sourceSeconds} `],
      [PATH_LINE, `PATH='${bin}':${programs ?? '/usr/sbin:/usr/bin:/sbin:/bin'}`],
    ]);
    writeFileSync(this.#path, text);
    mkdirSync(this.cache);
    chmodSync(this.directory, 0o777);
    for (const path of [this.#path, bin]) chmodSync(path, 0o755);
    chmodSync(this.cache, 0o700);
    if (process.getuid?.() === 0) chownSync(this.cache, NOBODY, NOBODY);
  }

  /** Not as root. */
  run(...args: readonly string[]): Promise<ExecResult> {
    const user = process.getuid?.() === 0 ? AS_NOBODY : [];
    return run([...user, ...this.#shell, this.#path, ...args]);
  }

  /** What sshd gets at a login with this key. */
  async login(line: string): Promise<string> {
    const [, base64 = ''] = line.split(' ');
    const { status, stdout, stderr } = await this.run(LOGIN, base64);
    if (status !== 0 || stderr !== '') throw new Error(`status ${status}: ${stderr}`);
    return stdout;
  }

  /** The files that hold keys, by the order of their names. */
  files(): string[] {
    return readdirSync(this.cache)
      .filter((name) => name.endsWith('.keys'))
      .map((name) => join(this.cache, name));
  }

  /** Without the comments. */
  cached(): string[] {
    return this.files().flatMap((path) => readFileSync(path, 'utf8').split('\n').filter(Boolean));
  }

  /** All files of the cache become this old; with `name` one of them. */
  age(minutes: number, name?: string): void {
    const then = Date.now() / 1000 - minutes * 60;
    for (const path of name === undefined ? this.files() : [name]) utimesSync(path, then, then);
  }

  /** As if the last failure were long ago. */
  forgetFailures(): void {
    for (const name of readdirSync(this.cache))
      if (name.endsWith('.failed')) rmSync(join(this.cache, name));
  }

  /** What went to syslog. */
  log(): string {
    const path = join(this.directory, 'log');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** What the script puts before the keys of a test. */
export const printed = (line: string) =>
  `restrict,port-forwarding,permitopen="${DESTINATION}",permitlisten="NONE:1",command="/bin/false" ${line}\n`;

/** The source answers with these from now on. */
export function lists(source: HttpSource, ...lines: readonly string[]): void {
  source.answer = (_, response) => response.end(lines.map((line) => `${line}\n`).join(''));
}

export const urlOf = ({ url }: HttpSource): KeySource => ({ kind: 'url', url });

/** For one test. A text is a command. */
export function scriptOf(t: TestContext, ...sources: readonly (HttpSource | string)[]): KeyScript {
  const script = new KeyScript(
    sources.map((source) =>
      typeof source === 'string' ? { kind: 'command', command: source } : urlOf(source),
    ),
  );
  t.after(() => script.remove());
  return script;
}

function replaced(text: string, pairs: readonly (readonly [from: string, to: string])[]): string {
  return pairs.reduce((before, [from, to]) => {
    if (before.split(from).length !== 2) throw new Error(`not once in the script: ${from}`);
    return before.replace(from, () => to);
  }, text);
}
