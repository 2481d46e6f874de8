/** Questions of ssh on their way to a prompter: through the real program that ssh would start. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { TunnelError } from '../../../../src/errors/errors.ts';
import {
  AskpassServer,
  MAX_ASKING,
  MAX_QUESTION_BYTES,
} from '../../../../src/ssh/openssh/askpass.ts';
import { nobody, type Prompter } from '../../../../src/ssh/prompter.ts';

describe('the askpass of ssh', { timeout: 60_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-askpass-'));
  after(() => rmSync(directory, { recursive: true }));
  let number = 0;

  async function asked(
    prompter: Partial<Prompter>,
    work: (
      ask: (
        question: string,
        hint?: string,
        started?: (child: ChildProcess) => void,
      ) => Promise<string>,
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
    const ask = async (
      question: string,
      hint?: string,
      started?: (child: ChildProcess) => void,
    ) => {
      const child = spawn(environment['SSH_ASKPASS'] ?? '', [question], {
        env: { ...environment, ...(hint === undefined ? {} : { SSH_ASKPASS_PROMPT: hint }) },
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      started?.(child);
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
    // With their blanks, by which some programs know a question.
    assert.deepEqual(put, [
      'secret|(u@h) Code: ',
      'line|The key is new|Go on (yes/no/[fingerprint])? ',
    ]);
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

  it('shows what wants no answer to whoever is asked, and ends it with ssh', async () => {
    const shown: string[] = [];
    const show = async (lines: readonly string[]) => void shown.push(...lines);
    const run = await asked({ show }, async (ask) => {
      let child: ChildProcess | undefined;
      const answer = ask('Confirm user presence for key\nED25519-SK', 'none', (it) => {
        child = it;
      });
      await until(() => shown.length > 0);
      child?.kill();
      assert.equal(await answer, 'null ');
    });
    await run.done;
    const lines = ['Confirm user presence for key', 'ED25519-SK'];
    assert.deepEqual(shown, lines);
    assert.deepEqual([run.shown, run.failures], [lines.map((line) => `ssh: ${line}`), []]);
  });

  it('lets ssh wait for what could not be shown', async () => {
    const show = () => Promise.reject(new Error('whoever was asked has left'));
    const run = await asked({ show }, async (ask) => {
      const answer = ask('Touch your key', 'none');
      await until(() => run.shown.length === 2);
      run.close();
      assert.equal(await answer, '1 ');
    });
    await run.done;
    assert.match(run.shown[1] ?? '', /has left$/);
    assert.deepEqual(run.failures, []);
  });

  it('gives up a question whose ssh has gone, and its place', async () => {
    let given = 0;
    const secret: Prompter['secret'] = (question, { signal } = {}) =>
      question === 'Last:'
        ? Promise.resolve('answer')
        : new Promise((_, reject) => {
            given++;
            signal?.addEventListener('abort', () => {
              given--;
              reject(signal.reason);
            });
          });
    const run = await asked({ secret }, async (ask) => {
      for (let round = 0; round < 2; round++) {
        const children: ChildProcess[] = [];
        const answers = Array.from({ length: MAX_ASKING }, (_, n) =>
          n % 2 === 0
            ? ask('Code:', undefined, (child) => children.push(child))
            : ask('Touch your key', 'none', (child) => children.push(child)),
        );
        const notices = MAX_ASKING / 2;
        await until(() => given === notices && run.shown.length === notices * (round + 1));
        for (const child of children) child.kill();
        await Promise.all(answers);
        await until(() => given === 0);
      }
      assert.equal(await ask('Last:'), '0 answer\n');
    });
    await run.done;
    assert.equal(run.shown.includes('tunnel_askpass_limit_total'), false);
    assert.deepEqual(run.failures, []);
  });

  it('answers nothing beyond its limits, and lets the login fail', async () => {
    const waits: Prompter['secret'] = (_question, { signal } = {}) =>
      new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    const many = await asked({ secret: waits }, async (ask) => {
      let answered = 0;
      const answers = Array.from({ length: MAX_ASKING + 3 }, () =>
        ask('Code:').finally(() => answered++),
      );
      await until(() => many.failures.length === 3);
      assert.equal(answered, 0);
      many.close();
      assert.deepEqual([...new Set(await Promise.all(answers))], ['1 ']);
    });
    await many.done;
    const long = await asked({}, async (_ask, path) => {
      const flood = connect(path);
      flood.on('error', () => {});
      flood.write(Buffer.alloc(2 * MAX_QUESTION_BYTES, 'x'));
      await until(() => long.failures.length > 0);
      assert.equal(flood.destroyed, false);
      long.close();
      // Not once(): an error may come before.
      await new Promise((resolve) => flood.on('close', resolve));
    });
    await long.done;
    for (const [{ shown, failures }, times] of [
      [many, 3],
      [long, 1],
    ] as const) {
      assert.deepEqual(shown, Array(times).fill('tunnel_askpass_limit_total'));
      assert.deepEqual(failures.map(codeOf), Array(times).fill('auth-cancelled'));
    }
  });

  it('puts no question without a word, and none that is not whole', async () => {
    const empty = await asked({}, async (ask) => {
      const answer = ask(' \n\u001b[2J\n');
      await until(() => empty.failures.length > 0);
      empty.close();
      assert.equal(await answer, '1 ');
    });
    await empty.done;
    assert.deepEqual(empty.failures.map(codeOf), ['auth-cancelled']);
    const asksNobody = await asked({}, async (_ask, path) => {
      for (const said of ['', '\0', '\0Password:']) {
        const socket = connect(path).resume();
        socket.end(said);
        await once(socket, 'close');
      }
    });
    await asksNobody.done;
    assert.deepEqual([asksNobody.failures, asksNobody.shown], [[], []]);
  });
});

function codeOf(error: unknown): string {
  return error instanceof TunnelError ? error.code : String(error);
}

/** Fails when the test's own time limit is over. */
async function until(met: () => boolean): Promise<void> {
  while (!met()) await delay(5);
}
