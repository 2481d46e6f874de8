/** Questions of ssh on their way to a prompter: through the real program that ssh would start. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, describe, it } from 'node:test';
import { TunnelError } from '../../../../src/errors/errors.ts';
import { AskpassServer } from '../../../../src/ssh/openssh/askpass.ts';
import { nobody, type Prompter } from '../../../../src/ssh/prompter.ts';

describe('the askpass of ssh', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-askpass-'));
  after(() => rmSync(directory, { recursive: true }));
  let number = 0;

  async function asked(
    prompter: Partial<Prompter>,
    work: (
      ask: (question: string, hint?: string) => Promise<string>,
      path: string,
    ) => Promise<void>,
  ) {
    const path = join(directory, String(number++));
    const shown: string[] = [];
    const failures: unknown[] = [];
    const server = await AskpassServer.start({
      path,
      prompter: { ...nobody('nobody'), ...prompter },
      observer: { log: (_, line) => shown.push(line), count: (name) => shown.push(name) },
      failed: (error) => failures.push(error),
    });
    const { environment } = server;
    const ask = async (question: string, hint?: string) => {
      const child = spawn(environment['SSH_ASKPASS'] ?? '', [question], {
        env: { ...environment, ...(hint === undefined ? {} : { SSH_ASKPASS_PROMPT: hint }) },
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const [output, [status]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
      return `${status} ${output}`;
    };
    const close = () => server.close();
    const done = new Promise<void>((resolve) => setImmediate(resolve))
      .then(() => work(ask, path))
      .finally(close);
    return { shown, failures, done, close };
  }

  it('puts secrets, decisions and confirmations each in its way, without control characters', async () => {
    const put: string[] = [];
    const say = (kind: string, answer: string) => {
      return async (question: string, { preamble = [] }: { preamble?: readonly string[] } = {}) => {
        put.push([kind, ...preamble, question].join('|'));
        return answer;
      };
    };
    const run = await asked(
      {
        secret: say('secret', 'pass word'),
        line: say('line', 'yes'),
        confirm: async (question) => question === 'Allow?',
      },
      async (ask) => {
        assert.equal(await ask('(u@h) \u001b[2JCode: '), '0 pass word\n');
        assert.equal(await ask('The key is new\nGo on (yes/no/[fingerprint])? '), '0 yes\n');
        assert.equal(await ask('Allow?', 'confirm'), '0 \n');
        assert.equal(await ask('Never?', 'confirm'), '1 ');
      },
    );
    await run.done;
    assert.equal(put.length, 2);
    assert.match(put[0] ?? '', /^secret\|\(u@h\) .*Code:/);
    assert.equal(put[0]?.includes('\u001b'), false);
    assert.match(put[1] ?? '', /^line\|The key is new\|Go on/);
    assert.deepEqual(run.failures, []);
  });

  it('gives no answer before ssh has ended if there is none', async () => {
    const error = new TunnelError('auth-cancelled', 'whoever was asked has left');
    let answered = false;
    const run = await asked({ secret: () => Promise.reject(error) }, async (ask) => {
      const answer = ask('Code: ').then((it) => {
        answered = true;
        return it;
      });
      while (run.failures.length === 0) await new Promise((resolve) => setImmediate(resolve));
      assert.equal(answered, false);
      run.close();
      assert.equal(await answer, '1 ');
    });
    await run.done;
    assert.deepEqual(run.failures, [error]);
  });

  it('shows what wants no answer, and drops what is too long', async () => {
    const run = await asked({}, async (ask, path) => {
      const answer = ask('Touch your key', 'none');
      while (run.shown.length === 0) await new Promise((resolve) => setImmediate(resolve));
      const flood = connect(path);
      const closed = new Promise((resolve) => flood.on('close', resolve));
      flood.on('error', () => {});
      flood.write(Buffer.alloc(300_000, 'x'));
      await closed;
      run.close();
      assert.equal(await answer, '1 ');
    });
    await run.done;
    assert.deepEqual(
      [run.shown, run.failures],
      [['ssh: Touch your key', 'tunnel_askpass_limit_total'], []],
    );
  });
});
