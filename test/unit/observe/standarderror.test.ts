/** Standard error as it is in earnest: terminals, pipes, sockets and files, read by nobody. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { closedToOthers } from '../../support/requirements.ts';

const source = (path: string) => new URL(`../../../src/${path}`, import.meta.url).href;
const TERMINAL = fileURLToPath(new URL('../../../../test/support/terminal.py', import.meta.url));
const PYTHON = 'python3';
const LACKING = spawnSync(PYTHON, ['-c', 'import pty']).status === 0 ? false : 'python3 is missing';
const LINES = 20_000;
/** A write that waits for a reader waits for good: this is a busy machine's own delay. */
const MOST_DELAY_MS = 500;
const FLUSH_MS = 1000;
/** Within which a program that waits for nothing has logged all. */
const LOGGED_MS = 15_000;

const directory = mkdtempSync(join(tmpdir(), 'tunnel-standarderror-'));
after(() => rmSync(directory, { recursive: true }));

/**
 * Logs LINES lines in small turns, says on standard output how long a turn was kept waiting, and
 * at the next line of standard input logs once more and ends.
 */
const PROGRAM = `
  import { LineWriter } from ${JSON.stringify(source('observe/linewriter.js'))};
  import { Log } from ${JSON.stringify(source('observe/log.js'))};
  import { standardErrorWriter } from ${JSON.stringify(source('observe/standarderror.js'))};
  import { addon } from ${JSON.stringify(source('native/addon.js'))};
  const native = process.env.WITHOUT_ADDON === undefined ? addon().writeNow : undefined;
  const sink = new LineWriter(standardErrorWriter(() => native));
  const log = new Log({ level: 'debug', sink });
  let longest = 0;
  for (let i = 0; i < ${LINES}; ) {
    const since = performance.now();
    for (let end = i + 50; i < end; i++) log.log('debug', 'line', { number: i });
    await new Promise((resolve) => setImmediate(resolve));
    longest = Math.max(longest, performance.now() - since);
  }
  console.log(JSON.stringify({ longest, dropped: sink.dropped, broken: sink.broken }));
  await new Promise((resolve) => process.stdin.once('data', resolve));
  // What is left is taken by the timer, not by the end of the program.
  const until = performance.now() + 3000;
  while (sink.waiting > 0 && process.env.STAYS_UNREAD === undefined && performance.now() < until)
    await new Promise((resolve) => setTimeout(resolve, 10));
  log.log('notice', 'last');
  const since = performance.now();
  sink.flush(${FLUSH_MS});
  console.log(JSON.stringify({ flushed: performance.now() - since }));
  process.exit(0);
`;

interface Told {
  readonly longest: number;
  readonly dropped: number;
  readonly broken: boolean;
  readonly flushed: number;
}

class Logging {
  readonly #child: ChildProcess;
  #told = '';

  constructor(
    stderr: number | 'pipe',
    { env = {}, uid }: { readonly env?: Record<string, string>; readonly uid?: number } = {},
  ) {
    this.#child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM], {
      stdio: ['pipe', 'pipe', stderr],
      env: { ...process.env, ...env },
      timeout: 30_000,
      killSignal: 'SIGKILL',
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.#told += chunk.toString();
    });
  }

  get stderr() {
    return this.#child.stderr;
  }

  /** Everything has been logged. */
  async logged(): Promise<Omit<Told, 'flushed'>> {
    for (const end = performance.now() + LOGGED_MS; !this.#told.includes('\n'); ) {
      if (performance.now() > end || this.#child.exitCode !== null) {
        this.#child.kill('SIGKILL');
        assert.fail('it waits for its standard error');
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return JSON.parse(this.#told.split('\n')[0] ?? '');
  }

  async finish(): Promise<Pick<Told, 'flushed'>> {
    const closed = once(this.#child, 'close');
    this.#child.stdin?.end('go\n');
    const [status] = await closed;
    assert.equal(status, 0);
    return JSON.parse(this.#told.split('\n')[1] ?? '');
  }
}

/** Every line is whole; what is missing is missing in one piece, and counted. */
function assertLines(text: string, dropped: number): void {
  const lines = text.replaceAll('\r\n', '\n').trimEnd().split('\n');
  assert.equal(lines.pop(), 'tunnel: last');
  let expected = 0;
  let said = 0;
  for (const line of lines) {
    const left = /^tunnel: warning: (\d+) messages? (?:was|were) left out: /.exec(line);
    if (left !== null) {
      said += Number(left[1]);
      expected += Number(left[1]);
    } else {
      assert.equal(line, `tunnel: debug: line (number=${expected})`);
      expected += 1;
    }
  }
  assert.equal(said, dropped);
  assert.equal(expected, LINES);
}

describe('standard error', () => {
  for (const [what, env] of [
    ['by the addon', {}],
    ['without it', { WITHOUT_ADDON: '1' }],
  ] as const) {
    it(`waits for no terminal that nobody reads, ${what}`, { skip: LACKING }, async () => {
      const terminal = new Terminal();
      const logging = await terminal.run(env);
      const { longest, dropped } = await logging.logged();
      assert.ok(longest < MOST_DELAY_MS, `${longest} ms`);
      assert.ok(dropped > 0 && dropped < LINES, `${dropped} were left out`);
      terminal.read();
      await logging.finish();
      assertLines(await terminal.finish(), dropped);
    });
  }

  it('ends although the terminal takes nothing', { skip: LACKING }, async () => {
    const terminal = new Terminal();
    const logging = await terminal.run({ STAYS_UNREAD: '1' });
    await logging.logged();
    const { flushed } = await logging.finish();
    assert.ok(flushed >= FLUSH_MS && flushed < 2 * FLUSH_MS, `${flushed} ms`);
    terminal.read();
    const text = await terminal.finish();
    assert.match(text, /^tunnel: debug: line \(number=0\)\r\n/);
  });

  it("waits for no terminal that it can't open again", {
    skip:
      LACKING ||
      (process.getuid?.() !== 0 && 'it needs root, to be another user') ||
      closedToOthers(fileURLToPath(import.meta.url)),
  }, async () => {
    const terminal = new Terminal();
    const logging = await terminal.run({}, 65_534);
    const { longest, dropped } = await logging.logged();
    assert.ok(longest < MOST_DELAY_MS, `${longest} ms`);
    assert.ok(dropped > 0 && dropped < LINES, `${dropped} were left out`);
    terminal.read();
    await logging.finish();
    assertLines(await terminal.finish(), dropped);
  });

  it('is not stopped as a background job of a terminal with tostop', {
    skip: LACKING,
  }, async () => {
    const program = join(directory, 'job.mjs');
    const report = join(directory, 'job.json');
    // Its input is at its end from the start, so that it goes on by itself.
    writeFileSync(
      program,
      `import { appendFileSync } from 'node:fs';
       const report = (text) => appendFileSync(${JSON.stringify(report)}, text + '\\n');
       ${PROGRAM.replaceAll('console.log(', 'report(').replace("once('data'", "resume().once('end'")}`,
    );
    const child = spawn(PYTHON, [TERMINAL, process.execPath, program], {
      stdio: ['pipe', 'pipe', 'inherit'],
      timeout: 30_000,
    });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    const closed = once(child, 'close');
    child.stdin.end('\n');
    await closed;
    assert.doesNotMatch(text, /\[stopped by/);
    const [first = ''] = readFileSync(report, 'utf8').split('\n');
    assertLines(text.slice(text.indexOf('\n') + 1), JSON.parse(first).dropped);
  });

  it('waits for no pipe that nobody reads', async () => {
    const path = join(directory, 'fifo');
    assert.equal(spawnSync('mkfifo', [path]).status, 0);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(path, 'w');
    const logging = new Logging(writer);
    const { longest, dropped } = await logging.logged();
    assert.ok(longest < MOST_DELAY_MS, `${longest} ms`);
    assert.ok(dropped > 0 && dropped < LINES, `${dropped} were left out`);
    let text = '';
    const buffer = Buffer.alloc(65_536);
    const reading = setInterval(() => {
      try {
        text += buffer.toString('utf8', 0, readSync(reader, buffer));
      } catch {
        // EAGAIN: nothing there
      }
    }, 1);
    await logging.finish();
    closeSync(writer);
    await new Promise((resolve) => setTimeout(resolve, 100));
    clearInterval(reading);
    closeSync(reader);
    assertLines(text, dropped);
  });

  it('waits for no socket that nobody reads', async () => {
    // Node's pipes to children are sockets.
    const logging = new Logging('pipe');
    const { longest, dropped } = await logging.logged();
    assert.ok(longest < MOST_DELAY_MS, `${longest} ms`);
    assert.ok(dropped > 0 && dropped < LINES, `${dropped} were left out`);
    let text = '';
    logging.stderr?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    await logging.finish();
    assertLines(text, dropped);
  });

  it('appends to a file, where others write as well', async () => {
    const path = join(directory, 'log');
    const fd = openSync(path, 'w');
    const logging = new Logging(fd);
    const { dropped } = await logging.logged();
    assert.equal(dropped, 0);
    writeFileSync(fd, '');
    await logging.finish();
    writeFileSync(fd, 'behind it\n');
    closeSync(fd);
    const text = readFileSync(path, 'utf8');
    assert.ok(text.endsWith('tunnel: last\nbehind it\n'));
    assertLines(text.slice(0, -'behind it\n'.length), 0);
  });

  it('goes on when the pipe is closed', async () => {
    const path = join(directory, 'closed');
    assert.equal(spawnSync('mkfifo', [path]).status, 0);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(path, 'w');
    closeSync(reader);
    const logging = new Logging(writer);
    assert.deepEqual(
      { ...(await logging.logged()), longest: 0 },
      {
        longest: 0,
        dropped: 0,
        broken: true,
      },
    );
    const { flushed } = await logging.finish();
    closeSync(writer);
    assert.ok(flushed < FLUSH_MS, `${flushed} ms`);
  });
});

/** A terminal that is read when the test says so. */
class Terminal {
  readonly #python = spawn(PYTHON, [TERMINAL], { stdio: ['pipe', 'pipe', 'inherit'] });
  readonly #closed = once(this.#python, 'close');
  #text = '';

  constructor() {
    // Of a test that has failed: it would keep this process.
    after(() => this.#python.kill());
    this.#python.stdout.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString();
    });
  }

  /** Starts the program with the terminal as its standard error. */
  async run(env: Record<string, string>, uid?: number): Promise<Logging> {
    while (!this.#text.includes('\n')) await once(this.#python.stdout, 'data');
    const [path = ''] = this.#text.split('\n');
    const fd = openSync(path, constants.O_WRONLY | constants.O_NOCTTY);
    try {
      return new Logging(fd, { env, ...(uid === undefined ? {} : { uid }) });
    } finally {
      closeSync(fd);
    }
  }

  read(): void {
    this.#python.stdin.end('\n');
  }

  /** All that was written to it, once nobody has it open any more. */
  async finish(): Promise<string> {
    await this.#closed;
    return this.#text.slice(this.#text.indexOf('\n') + 1);
  }
}
