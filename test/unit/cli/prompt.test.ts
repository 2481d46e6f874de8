/**
 * Questions at a real terminal: util-linux's script(1) gives the program a pseudo-terminal of its
 * own. And questions by an askpass program, which is a script here.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

const PROMPT = new URL('../../../src/cli/prompt.js', import.meta.url).href;
const TERMINAL = new URL('../../../src/cli/terminal.js', import.meta.url).href;
const TIMEOUT_MS = 20_000;
const LACKING =
  spawnSync('script', ['--version']).status === 0
    ? false
    : 'script(1) of util-linux is missing (package bsdutils)';

const { DISPLAY, WAYLAND_DISPLAY, SSH_ASKPASS, SSH_ASKPASS_REQUIRE, ...NO_ASKPASS } = process.env;

/** `body` may use `prompter` and `show`; the terminal's settings follow when it has ended. */
function program(body: string): string {
  return `
    import { createPrompter } from ${JSON.stringify(PROMPT)};
    const prompter = createPrompter();
    const show = (label, value) => process.stdout.write('<' + label + ':' + JSON.stringify(value) + '>');
    const failed = (error) => show('failed', error.code ?? error.name);
    ${body}
  `;
}

class Session {
  #output = '';
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  constructor(body: string, environment: Readonly<Record<string, string>> = {}) {
    // The shell prints the settings after the program, to see that they are as before.
    const command = `"${process.execPath}" --input-type=module -e "$PROGRAM"; echo "[status $?]"; stty -a`;
    this.#child = spawn('script', ['-qec', command, '/dev/null'], {
      env: {
        ...NO_ASKPASS,
        PROGRAM: program(body),
        SHELL: '/bin/sh',
        TERM: 'dumb',
        ...environment,
      },
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

  /** To the program that has the other end of the terminal. */
  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
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

describe('questions at the terminal', { skip: LACKING }, () => {
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
    const session = new Session(
      `setTimeout(() => process.exit(9), 200); await prompter.secret('q?');`,
    );
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

  it('shows what is typed where the question says so, with what is above it', async () => {
    const session = new Session(`
      const preamble = ['Title\\u001b]0;evil\\u0007', '', '  indented'];
      show('answer', await prompter.line('Code\\n:', { preamble }));
      show('able', prompter.canAsk());
    `);
    await session.until(/Title.*\r\n\r\n {2}indented\r\nCode : /);
    session.type('12x\x7f34\r');
    const output = await session.finish();
    assert.match(output, /Code : 12x\x08 \x0834\r\n/);
    assert.match(output, /<answer:"1234">[\s\S]*<able:true>/);
    assert.doesNotMatch(output, /\x1b\]0/);
    assertRestored(output);
  });

  it('a decision: asks until the answer is clear', async () => {
    const session = new Session(`
      const alternative = { text: 'SHA256:abc', name: 'the fingerprint' };
      show('first', await prompter.confirm('Trust it?', { alternative }));
      show('second', await prompter.confirm('Trust it?', { alternative }));
      show('third', await prompter.confirm('Trust it?'));
      show('fourth', await prompter.confirm('Trust it?'));
    `);
    await session.until(/Trust it\? \(yes, no or the fingerprint\) /);
    session.type('y\r');
    await session.until(/Please answer yes, no or the fingerprint: /);
    session.type(' YES\r');
    await session.until(/<first:true>[\s\S]*Trust it/);
    session.type('SHA256:abc\r');
    await session.until(/<second:true>[\s\S]*Trust it\? \(yes or no\) /);
    session.type('\r');
    await session.until(/<third:false>[\s\S]*Trust it/);
    for (let unclear = 1; unclear < 5; unclear++) {
      session.type('SHA256:abc\r');
      await session.until(new RegExp(`(Please answer yes or no: [\\s\\S]*){${unclear}}`));
    }
    session.type('SHA256:abc\r');
    assert.match(await session.finish(), /<fourth:false>/);
  });

  it('waits for no terminal that takes nothing, and is asked when it does', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'prompt-'));
    const [go, turns] = [join(directory, 'go'), join(directory, 'turns')];
    const session = new Session(`
      const { existsSync, writeFileSync } = await import('node:fs');
      const { setTimeout: delay } = await import('node:timers/promises');
      process.stdout.write('running');
      while (!existsSync(${JSON.stringify(go)})) await delay(10);
      let count = 0;
      setInterval(() => writeFileSync(${JSON.stringify(turns)}, String(++count)), 10).unref();
      const { askAtTerminal } = await import(${JSON.stringify(TERMINAL)});
      const preamble = Array.from({ length: 2000 }, (_, i) => 'line ' + i + ' '.repeat(90));
      const answer = await askAtTerminal({ question: 'Which?', preamble, echo: true, signal: undefined });
      show('answer', answer);
    `);
    try {
      await session.until(/running/);
      session.signal('SIGSTOP'); // the other end of the terminal reads nothing
      writeFileSync(go, '');
      const end = performance.now() + TIMEOUT_MS;
      const turned = () => (existsSync(turns) ? Number(readFileSync(turns, 'latin1')) : 0);
      while (turned() < 50) {
        assert.ok(performance.now() < end, `it stands still after ${turned()} turns`);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      session.signal('SIGCONT');
      await session.until(/line 0 [\s\S]*line 1999 +\r?\nWhich\? /);
      session.type('this\r');
      assert.match(await session.finish(), /<answer:"this">/);
    } finally {
      session.signal('SIGCONT');
      rmSync(directory, { recursive: true });
    }
  });

  it('asks nobody in the background, where it would be stopped', async () => {
    const body = `show('asks', prompter.canAsk());
      await prompter.secret('Password:').catch(failed);`;
    // With job control (-m), a command in the background is a process group of its own.
    const command = `set -m; "${process.execPath}" --input-type=module -e "$PROGRAM" & wait`;
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      env: { ...NO_ASKPASS, PROGRAM: program(body), SHELL: '/bin/sh', TERM: 'dumb' },
      stdio: ['pipe', 'pipe', 'inherit'],
      timeout: TIMEOUT_MS,
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    await once(child, 'close');
    assert.match(output, /<asks:false><failed:"no-terminal">/);
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

describe('questions by SSH_ASKPASS', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-askpass-'));
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  function askpass(script: string): string {
    const path = join(mkdtempSync(join(directory, 'a-')), 'askpass');
    writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return path;
  }

  /** What a program without a terminal shows. */
  async function detached(
    body: string,
    environment: Readonly<Record<string, string>>,
  ): Promise<string> {
    const argv = ['--wait', process.execPath, '--input-type=module', '-e', program(body)];
    const child = spawn('setsid', argv, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...NO_ASKPASS, ...environment },
      timeout: TIMEOUT_MS,
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    await once(child, 'close');
    return output;
  }

  const ASK = `await prompter.secret('Password:').then((answer) => show('answer', answer), failed);`;

  for (const [environment, result] of [
    [{}, 'failed:"no-terminal"'],
    [{ DISPLAY: ':7' }, 'answer:"window"'],
    [{ WAYLAND_DISPLAY: 'wayland-0' }, 'answer:"window"'],
    [{ DISPLAY: ':7', SSH_ASKPASS_REQUIRE: 'never' }, 'failed:"no-terminal"'],
    [{ SSH_ASKPASS_REQUIRE: 'prefer' }, 'failed:"no-terminal"'],
    [{ SSH_ASKPASS_REQUIRE: 'FORCE' }, 'answer:"window"'],
  ] as const) {
    it(`without a terminal, ${JSON.stringify(environment)}: ${result}`, async () => {
      const able = `show('able', prompter.canAsk());`;
      const script = askpass('echo window; echo more');
      const output = await detached(`${able} ${ASK}`, { SSH_ASKPASS: script, ...environment });
      assert.match(output, new RegExp(`<${result}>`));
      assert.match(output, new RegExp(`<able:${result.startsWith('answer')}>`));
    });
  }

  it('can ask nobody through a program that is not there', async () => {
    const able = `show('able', prompter.canAsk());`;
    for (const SSH_ASKPASS of [join(directory, 'none'), directory, 'no-such-askpass'])
      for (const environment of [{ DISPLAY: ':7' }, { SSH_ASKPASS_REQUIRE: 'force' }]) {
        const output = await detached(able, { SSH_ASKPASS, ...environment });
        assert.match(output, /<able:false>/, `${SSH_ASKPASS} ${JSON.stringify(environment)}`);
      }
    const found = { SSH_ASKPASS: 'true', SSH_ASKPASS_REQUIRE: 'force' };
    assert.match(await detached(able, found), /<able:true>/);
  });

  it('gives the program the question with the blanks at its end', async () => {
    const told = join(directory, 'told');
    const SSH_ASKPASS = askpass(`printf '<%s>' "$1" >'${told}'; echo`);
    const ask = `await prompter.secret('Enter PIN for \\u001b[2Jk: ').catch(failed);`;
    await detached(ask, { SSH_ASKPASS, SSH_ASKPASS_REQUIRE: 'force' });
    assert.equal(readFileSync(told, 'utf8'), '<Enter PIN for k: >');
  });

  for (const [environment, who] of [
    [{ DISPLAY: ':7' }, 'terminal'],
    [{ DISPLAY: ':7', SSH_ASKPASS_REQUIRE: 'prefer' }, 'window'],
    [{ SSH_ASKPASS_REQUIRE: 'prefer' }, 'terminal'],
    [{ SSH_ASKPASS_REQUIRE: 'force' }, 'window'],
    [{ DISPLAY: ':7', SSH_ASKPASS_REQUIRE: 'never' }, 'terminal'],
  ] as const) {
    it(`at a terminal, ${JSON.stringify(environment)}: asked at the ${who}`, {
      skip: LACKING,
    }, async () => {
      const session = new Session(ASK, { SSH_ASKPASS: askpass('echo window'), ...environment });
      if (who === 'terminal') {
        await session.until(/Password: /);
        session.type('terminal\r');
      }
      assert.match(await session.finish(), new RegExp(`<answer:"${who}">`));
    });
  }

  it('gets the question as one argument, no shell in between; a hint meant for another program is kept from it', async () => {
    const program = askpass(`printf "%s|" "$#" "$1" "\${SSH_ASKPASS_PROMPT-unset}" | tr "\\n" "/"`);
    const output = await detached(
      `show('answer', await prompter.secret('(u@h) $(id) "x" \\u001b[31m:', { preamble: ['-title'] }));`,
      { SSH_ASKPASS: program, SSH_ASKPASS_REQUIRE: 'force', SSH_ASKPASS_PROMPT: 'confirm' },
    );
    assert.match(output, /<answer:"1\|-title\/\(u@h\) \$\(id\) \\"x\\" :\|unset\|">/);
  });

  it('a program that always prints a password agrees to nothing', async () => {
    const script = `echo asked >>"$0.log"; echo hunter2`;
    const path = askpass(script);
    const output = await detached(`show('agreed', await prompter.confirm('Trust it?'));`, {
      SSH_ASKPASS: path,
      SSH_ASKPASS_REQUIRE: 'force',
    });
    assert.match(output, /<agreed:false>/);
    assert.equal(readFileSync(`${path}.log`, 'utf8').split('\n').length - 1, 5);
  });

  for (const [title, script, code] of [
    ['closed by the user', 'echo half; exit 1', 'auth-cancelled'],
    ['with more than an answer can be', 'exec head -c 100000 /dev/zero', 'auth-cancelled'],
  ] as const) {
    it(`${title}: ${code}`, async () => {
      const environment = { SSH_ASKPASS: askpass(script), SSH_ASKPASS_REQUIRE: 'force' };
      assert.match(await detached(ASK, environment), new RegExp(`<failed:"${code}">`));
    });
  }

  it('one that is not there: no-terminal', async () => {
    const environment = { SSH_ASKPASS: join(directory, 'absent'), SSH_ASKPASS_REQUIRE: 'force' };
    assert.match(await detached(ASK, environment), /<failed:"no-terminal">/);
  });

  it('is ended when the question is aborted', async () => {
    const path = askpass(`echo $$ >"$0.pid"; exec sleep 60`);
    const output = await detached(
      `
        const { existsSync, readFileSync } = await import('node:fs');
        const stop = new AbortController();
        const pid = ${JSON.stringify(`${path}.pid`)};
        const wait = setInterval(() => existsSync(pid) && readFileSync(pid, 'utf8').includes('\\n') && stop.abort(), 10);
        await prompter.secret('q?', { signal: stop.signal }).catch(failed);
        clearInterval(wait);
      `,
      { SSH_ASKPASS: path, SSH_ASKPASS_REQUIRE: 'force' },
    );
    assert.match(output, /<failed:"AbortError">|<failed:20>/);
    const pid = readFileSync(`${path}.pid`, 'utf8').trim();
    for (let waited = 0; existsSync(`/proc/${pid}`) && waited < 2000; waited += 20)
      await new Promise((resolve) => setTimeout(resolve, 20));
    assert.ok(!existsSync(`/proc/${pid}`));
  });
});
