/** Questions at a real terminal: util-linux's script(1) gives the program a pseudo-terminal of its own. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';

const PROMPT = new URL('../../../src/cli/prompt.js', import.meta.url).href;
const TIMEOUT_MS = 20_000;
const LACKING =
  spawnSync('script', ['--version']).status === 0
    ? false
    : 'script(1) of util-linux is missing (package bsdutils)';

/** `body` may use `prompter` and `show`; the terminal's settings follow when it has ended. */
function program(body: string): string {
  return `
    import { TerminalPrompter } from ${JSON.stringify(PROMPT)};
    const prompter = new TerminalPrompter();
    const show = (label, value) => process.stdout.write('<' + label + ':' + JSON.stringify(value) + '>');
    const failed = (error) => show('failed', error.code ?? error.name);
    ${body}
  `;
}

class Session {
  #output = '';
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  constructor(body: string) {
    // The shell prints the settings after the program, to see that they are as before.
    const command = `"${process.execPath}" --input-type=module -e "$PROGRAM"; echo "[status $?]"; stty -a`;
    this.#child = spawn('script', ['-qec', command, '/dev/null'], {
      env: { ...process.env, PROGRAM: program(body), SHELL: '/bin/sh', TERM: 'dumb' },
      stdio: ['pipe', 'pipe', 'inherit'],
      timeout: TIMEOUT_MS,
    });
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.#output += chunk.toString();
    });
    this.#ended = once(this.#child, 'close');
  }

  async until(pattern: RegExp): Promise<void> {
    for (let waited = 0; !pattern.test(this.#output); waited += 10) {
      assert.ok(
        waited < TIMEOUT_MS && this.#child.exitCode === null,
        `${pattern} in ${JSON.stringify(this.#output)}`,
      );
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Everything that was seen at the terminal, once it is over. */
  async finish(): Promise<string> {
    await this.#ended;
    this.#child.stdin?.destroy();
    return this.#output;
  }
}

/** Echo, line mode and signals are on again. */
function assertRestored(output: string): void {
  for (const mode of ['echo', 'icanon', 'isig', 'icrnl']) {
    assert.match(output, new RegExp(`[ \\n]${mode}[ ;\\r\\n]`), `${mode} in ${output}`);
  }
}

describe('TerminalPrompter', { skip: LACKING }, () => {
  it('reads a line without showing it', async () => {
    const session = new Session(`
      process.stdin.destroy();
      show('answer', await prompter.secret('Pass\\u001b[31mphrase:'));
      const { execSync } = await import('node:child_process');
      show('modes', execSync('stty -a </dev/tty', { encoding: 'utf8' }));
    `);
    await session.until(/Passphrase: /);
    session.type('correct horse\r');
    const output = await session.finish();
    assert.match(output, /<answer:"correct horse">/);
    // While the program still runs, too: it may run for weeks.
    assertRestored(JSON.parse(/<modes:(".*?[^\\]")>/.exec(output)?.[1] ?? '""'));
    assert.equal(output.split('correct horse').length, 2, 'only in the answer');
    assertRestored(output);
  });

  it('edits the line', async () => {
    const session = new Session(`show('answer', await prompter.secret('?'));`);
    await session.until(/\? /);
    session.type('wrong\x15xy\x7f\x1a\x04é🙂\x7f!\n');
    assert.match(await session.finish(), /<answer:"xé!">/);
  });

  it('asks one question after the other', async () => {
    const session = new Session(`
      const first = prompter.secret('first?').catch(failed);
      const second = prompter.secret('second?');
      show('first', await first);
      show('second', await second);
    `);
    await session.until(/first\? /);
    session.type('a\r');
    await session.until(/second\? /);
    session.type('b\r');
    const output = await session.finish();
    assert.match(output, /<first:"a">/);
    assert.match(output, /<second:"b">/);
    assertRestored(output);
  });

  it('restores the terminal when it is aborted', async () => {
    const session = new Session(`
      const stop = new AbortController();
      const answer = prompter.secret('q?', { signal: stop.signal });
      setTimeout(() => stop.abort(new DOMException('stopped', 'AbortError')), 100);
      await answer.catch((error) => show('failed', error.name));
      await prompter.secret('again?', { signal: stop.signal }).catch((error) => show('again', error.name));
    `);
    const output = await session.finish();
    assert.match(output, /<failed:"AbortError">/);
    assert.match(output, /<again:"AbortError">/);
    assert.doesNotMatch(output, /again\?/);
    assertRestored(output);
  });

  it('turns Ctrl-C into SIGINT, with the terminal restored before', async () => {
    const session = new Session(`
      const stop = new AbortController();
      process.once('SIGINT', () => stop.abort());
      await prompter.secret('q?', { signal: stop.signal }).catch((error) => show('failed', error.name));
    `);
    await session.until(/q\? /);
    session.type('half\x03');
    const output = await session.finish();
    assert.match(output, /<failed:"AbortError">/);
    assertRestored(output);
  });

  it('dies of Ctrl-C when nobody handles it, with the terminal restored', async () => {
    const session = new Session(`await prompter.secret('q?');`);
    await session.until(/q\? /);
    session.type('\x03');
    const output = await session.finish();
    assert.match(output, /\[status 130\]/);
    assertRestored(output);
  });

  it('takes Ctrl-D for no answer', async () => {
    const session = new Session(`await prompter.secret('q?').catch(failed);`);
    await session.until(/q\? /);
    session.type('\x04');
    const output = await session.finish();
    assert.match(output, /<failed:"auth-cancelled">/);
    assertRestored(output);
  });

  it('restores the terminal when the program exits in the middle', async () => {
    const session = new Session(`setTimeout(() => process.exit(9), 200); await prompter.secret('q?');`);
    const output = await session.finish();
    assert.match(output, /q\? \r\n\[status 9\]/);
    assertRestored(output);
  });

  it('leaves no descriptor open', async () => {
    const session = new Session(`
      const { readdirSync } = await import('node:fs');
      const count = () => readdirSync('/proc/self/fd').length;
      await prompter.secret('1?');
      const before = count();
      await prompter.secret('2?');
      await new Promise((resolve) => setImmediate(resolve));
      show('more', count() - before);
    `);
    await session.until(/1\? /);
    session.type('x\r');
    await session.until(/2\? /);
    session.type('x\r');
    assert.match(await session.finish(), /<more:0>/);
  });

  it('says when there is no terminal', async () => {
    const child = spawn(
      'setsid',
      [
        '--wait',
        process.execPath,
        '--input-type=module',
        '-e',
        program(
          `await prompter.secret('Password:').catch((e) => { show('code', e.code); show('message', e.message); });`,
        ),
      ],
      { stdio: ['ignore', 'pipe', 'inherit'], timeout: TIMEOUT_MS },
    );
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    await once(child, 'close');
    assert.match(output, /<code:"no-terminal">/);
    assert.match(output, /there is no terminal to ask at: Password:/);
  });
});
