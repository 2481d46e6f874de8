/** The status socket: both ends, in a directory of the test. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs, {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { after, describe, it, mock } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  ANSWER_MS,
  type AskOptions,
  ask,
  converse,
  findTunnels,
  followStatus,
  sweep,
  tunnelNamed,
} from '../../../src/control/client.ts';
import { reconnectTunnel, reloadTunnel, stopTunnel } from '../../../src/control/commands.ts';
import {
  allDirectories,
  MAX_SOCKETS,
  makeDirectory,
  ownDirectories,
  socketIn,
} from '../../../src/control/directory.ts';
import { RemotePrompter } from '../../../src/control/remoteprompter.ts';
import { type ControlHandlers, ControlServer, MAX_CLIENTS } from '../../../src/control/server.ts';
import type { ReloadAnswer, Status } from '../../../src/control/status.ts';
import { fieldOf, MAX_NOTICES, textOf } from '../../../src/control/wire.ts';
import { TunnelError } from '../../../src/errors/errors.ts';
import { silentObserver } from '../../../src/observe/observer.ts';
import { nobody, type Prompter } from '../../../src/ssh/prompter.ts';

const base = mkdtempSync(join(tmpdir(), 'tunnel-control-'));
after(() => rmSync(base, { recursive: true }));
const uid = process.geteuid?.() ?? 0;
const whose = { env: { RUNTIME_DIRECTORY: join(base, 'run') }, uid };
/** A process id that no process can have. */
const NO_PID = 4_194_305;
const untold = { waits() {}, says() {} };

function statusOf(name: string, more: Partial<Status> = {}): Status {
  return {
    name,
    command: 'proxy',
    pid: process.pid,
    version: '0',
    startedAt: 1,
    at: 2,
    ready: true,
    remote: name,
    targets: [],
    device: undefined,
    proxies: [],
    forwards: [],
    link: {
      state: 'up',
      since: 1,
      upSince: 1,
      attempt: 0,
      error: undefined,
      holdSeconds: 30,
      held: 0,
      holdEndsAt: undefined,
      redialAt: undefined,
      roundTripMs: undefined,
      at: undefined,
      via: [],
      user: undefined,
      client: undefined,
      server: undefined,
      keyExchange: undefined,
      cipher: undefined,
      hostKey: undefined,
    },
    flows: {
      live: 0,
      opening: 0,
      opened: 0,
      refused: 0,
      sentBytes: 0,
      receivedBytes: 0,
      list: [],
    },
    refusals: [],
    counters: {},
    checks: [],
    ...more,
  };
}

async function serving<T>(
  handlers: Partial<ControlHandlers>,
  work: (path: string) => Promise<T>,
  pid = process.pid,
): Promise<T> {
  const path = socketIn(makeDirectory(whose), pid);
  const server = new ControlServer(
    path,
    {
      status: () => statusOf('lab', { pid }),
      link: () => statusOf('lab', { pid }).link,
      stop: () => {},
      reconnect: () => Promise.resolve(),
      reload: () => Promise.resolve({ said: 'reloaded', notices: [] }),
      ...handlers,
    },
    silentObserver,
  );
  await server.start();
  try {
    return await work(path);
  } finally {
    await server.close();
    assert.ok(!existsSync(path), 'the socket is gone');
  }
}

describe('the directory of sockets', () => {
  it('is that of the unit, of the session, or a private one', () => {
    const env = { XDG_RUNTIME_DIR: '/run/user/1000' };
    assert.deepEqual(ownDirectories({ env, uid: 1000 }), [
      '/run/user/1000/tunnel',
      '/tmp/tunnel-1000',
    ]);
    assert.deepEqual(ownDirectories({ env: { XDG_RUNTIME_DIR: 'relative' }, uid: 7 }), [
      '/run/user/7/tunnel',
      '/tmp/tunnel-7',
    ]);
    assert.deepEqual(ownDirectories({ env, uid: 0 }), ['/run/tunnel']);
    assert.equal(
      ownDirectories({ env: { RUNTIME_DIRECTORY: '/run/x:/run/y' }, uid: 0 })[0],
      '/run/x',
    );
    assert.ok(allDirectories({ env: {}, uid: 0 }).includes('/run/tunnel'));
  });

  it('is not used if others may have made it', () => {
    const made = (path: string) =>
      makeDirectory({ env: { RUNTIME_DIRECTORY: path }, uid: uid === 0 ? NO_PID : uid });
    const open = join(base, 'open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    const link = join(base, 'link');
    symlinkSync(open, link);
    const file = join(base, 'file');
    writeFileSync(file, '');
    for (const path of [open, link, file, join(base, 'x'.repeat(120))]) {
      let used = '';
      try {
        used = made(path);
      } catch (error) {
        assert.ok(error instanceof TunnelError && error.code === 'control-directory');
      }
      assert.notEqual(used, path);
    }
    rmSync(`/tmp/tunnel-${NO_PID}`, { recursive: true, force: true });
  });

  it('is closed to others', async () => {
    await serving({}, async (path) => {
      assert.equal(statSync(path).mode & 0o777, 0o600);
      assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
    });
  });

  it('is closed to others before anybody can connect, whatever the umask is', async () => {
    const modes: number[] = [];
    // The first look at the socket, before its mode could be mended.
    const { openSync: open } = fs;
    mock.method(fs, 'openSync', (path: string, flags: number) => {
      if (path.endsWith('.sock')) modes.push(statSync(path).mode & 0o777);
      return open(path, flags);
    });
    syncBuiltinESMExports();
    const mask = process.umask(0);
    try {
      await serving({}, async () => {});
      assert.deepEqual(modes, [0o600]);
    } finally {
      process.umask(mask);
      mock.restoreAll();
      syncBuiltinESMExports();
    }
  });
});

describe('the status socket', () => {
  it('answers with the status, to many at a time', async () => {
    await serving({}, async () => {
      const all = await Promise.all([1, 2, 3].map(() => findTunnels(whose)));
      // Root finds the tunnels of all users, and others may run.
      for (const { tunnels } of all) {
        const own = tunnels.filter(({ pid }) => pid === process.pid);
        assert.deepEqual(
          own.map(({ status }) => status.name),
          ['lab'],
        );
      }
    });
  });

  it('passes over what it does not know in the request of a later version', async () => {
    await serving({}, async (path) => {
      const later = { later: { deep: [1] }, only: 'later' };
      const answer = await ask(path, { do: 'status', ...later });
      assert.equal(textOf(fieldOf(answer, 'status'), 'name'), 'lab');
      await assert.rejects(ask(path, { do: 'later' }), {
        code: 'control-failed',
        message: /of this version does not know it/,
        hint: /another version/,
      });
    });
  });

  it('stops the tunnel, after the answer', async () => {
    let stopped = 0;
    await serving({ stop: () => stopped++ }, async (path) => {
      await ask(path, { do: 'stop' });
      assert.equal(stopped, 1);
    });
  });

  it('asks at the caller’s terminal, and passes its answers and refusals on', async () => {
    const reconnect: ControlHandlers['reconnect'] = async (prompter) => {
      assert.equal(await prompter.secret('Password:'), 'hunter2');
      assert.equal(await prompter.line('Code:', { preamble: ['a line'] }), '123456');
      assert.equal(await prompter.confirm('Go on?'), true);
      await prompter.secret('Another:');
    };
    await serving({ reconnect }, async (path) => {
      const asked: string[] = [];
      const answers = ['hunter2', '123456', 'yes'];
      const questions = async (question: unknown) => {
        asked.push(`${textOf(question, 'kind')} ${textOf(question, 'question')}`);
        const answer = answers.shift();
        if (answer === undefined) throw new TunnelError('auth-cancelled', 'no more');
        return answer;
      };
      await assert.rejects(ask(path, { do: 'reconnect' }, { questions }), /no more/);
      assert.deepEqual(asked, [
        'secret Password:',
        'line Code:',
        'confirm Go on?',
        'secret Another:',
      ]);
    });
  });

  it('waits for as long as a person takes to answer, but not for a tunnel that says nothing', async () => {
    const { signal } = new AbortController();
    const person: Prompter = {
      ...nobody('nobody'),
      async secret() {
        mock.timers.tick(20 * ANSWER_MS);
        return '123456';
      },
    };
    const asks = async (prompter: Prompter) => {
      assert.equal(await prompter.secret('Code:'), '123456');
    };
    const handlers: Partial<ControlHandlers> = {
      reconnect: asks,
      async reload(prompter) {
        await asks(prompter);
        return { said: 'reloaded', notices: [] };
      },
    };
    mock.timers.enable({ apis: ['setTimeout'] });
    try {
      await serving(handlers, async (path) => {
        const tunnel = { pid: process.pid, user: uid, path, status: statusOf('lab') };
        await reconnectTunnel(tunnel, person, signal, untold);
        assert.deepEqual(await reloadTunnel(tunnel, person, signal, untold.says), ['reloaded']);
        const questions = (): Promise<string> => person.secret('Code:');
        await assert.rejects(ask(path, { do: 'reconnect' }, { questions }), /no answer within 5 s/);
      });
    } finally {
      mock.timers.reset();
    }
  });

  it('tells the caller of reconnect, once, how long the tunnel waits and why', async () => {
    let end = (): void => {};
    const work = new Promise<void>((resolve) => {
      end = resolve;
    });
    const { link } = statusOf('lab');
    const error = { code: 'auth-failed', message: 'the login was\u001b[2J refused' };
    const redialAt = Date.now() + 330_000;
    const status = statusOf('lab', { link: { ...link, state: 'waiting', error, redialAt } });
    let looks = 0;
    const handlers: Partial<ControlHandlers> = {
      status() {
        end();
        return assert.fail('all flows are asked for');
      },
      link() {
        if (++looks === 3) end();
        return status.link;
      },
      reconnect: () => work,
    };
    await serving(handlers, async (path) => {
      const said: string[] = [];
      const tunnel = { pid: process.pid, user: uid, path, status };
      const { signal } = new AbortController();
      const waits = (text: string) => void said.push(text);
      await reconnectTunnel(tunnel, nobody('nobody'), signal, { ...untold, waits });
      assert.equal(said.length, 1, said.join('\n'));
      assert.match(said[0] ?? '', /^it waits [56] min before it connects again: the login was/);
      assert.equal(said[0]?.includes('\u001b'), false);
    });
  });

  it('shows what wants no answer, and goes on asking', async () => {
    const own = userInfo().username;
    const asks: ControlHandlers['reconnect'] = async (prompter) => {
      await prompter.show?.(['Confirm user\u001b[2J presence', 'for key ED25519-SK']);
      assert.equal(await prompter.secret('PIN:'), '1234');
    };
    const reload: ControlHandlers['reload'] = async (prompter) => {
      await asks(prompter, new AbortController().signal);
      return { said: 'reloaded', notices: [] };
    };
    await serving({ reconnect: asks, reload }, async (path) => {
      const person: Prompter = { ...nobody('nobody'), secret: async () => '1234' };
      const tunnel = { pid: process.pid, user: uid, path, status: statusOf('lab') };
      const { signal } = new AbortController();
      const expected = [
        `${own}'s tunnel "lab" (pid ${process.pid}) says:`,
        '| Confirm user presence',
        '| for key ED25519-SK',
      ];
      const said: string[] = [];
      const says = (line: string) => void said.push(line);
      await reconnectTunnel(tunnel, person, signal, { ...untold, says });
      assert.deepEqual(said.splice(0), expected);
      await reloadTunnel(tunnel, person, signal, says);
      assert.deepEqual(said, expected);
      // An older "tunnel reconnect" does not know notices, and declines them.
      const old = { questions: () => Promise.reject(new TunnelError('auth-cancelled', 'what?')) };
      await assert.rejects(ask(path, { do: 'reconnect' }, old), /what/);
    });
  });

  it('shows a bounded number of notices', async () => {
    const reconnect: ControlHandlers['reconnect'] = async (prompter) => {
      for (let i = 0; i < 1000; i++) await prompter.show?.(['touch your key']);
    };
    await serving({ reconnect }, async (path) => {
      let lines = 0;
      const says = (): void => void lines++;
      const tunnel = { pid: process.pid, user: uid, path, status: statusOf('lab') };
      const { signal } = new AbortController();
      const told = reconnectTunnel(tunnel, nobody('nobody'), signal, { ...untold, says });
      await assert.rejects(told, /more than 32 notices/);
      assert.equal(lines, 2 * 32);
    });
  });

  it('counts the notices that the caller of reconnect is not shown', () => {
    const counted: string[] = [];
    const sent: unknown[] = [];
    const prompter = new RemotePrompter((question) => sent.push(question), {
      ...silentObserver,
      count: (name) => counted.push(name),
    });
    const all = Array.from({ length: MAX_NOTICES + 2 }, async () => {
      const shown = prompter.show(['touch your key']);
      return shown.then(
        () => 'shown',
        (error: unknown) => String(error),
      );
    });
    const answers = setInterval(() => prompter.answered({ answer: '' }), 0);
    return Promise.all(all).then((outcomes) => {
      clearInterval(answers);
      assert.equal(outcomes.filter((it) => it === 'shown').length, MAX_NOTICES);
      assert.equal(sent.length, MAX_NOTICES);
      assert.deepEqual(counted, Array(2).fill('tunnel_control_notices_over_limit_total'));
    });
  });

  it('tells of the link alone who asks for that alone', async () => {
    const { link } = statusOf('lab');
    await serving({ status: () => assert.fail('all is made') }, async (path) => {
      const answer = await ask(path, { do: 'status', only: 'link' });
      assert.deepEqual(answer, { ok: true, status: JSON.parse(JSON.stringify({ link })) });
    });
  });

  it('says first whose tunnel asks, whatever that says itself', async () => {
    const own = userInfo().username;
    const reconnect: ControlHandlers['reconnect'] = async (prompter) => {
      const preamble = [`root's tunnel "prod" (pid 1) asks:`, '\x1b]0;title\x07\x1b[2Jgone'];
      await prompter.secret('Password of root:', { preamble });
    };
    await serving({ reconnect }, async (path) => {
      const shown: string[] = [];
      const prompter: Prompter = {
        ...nobody('nobody'),
        async secret(question, { preamble = [] } = {}) {
          shown.push(...preamble, question);
          return 'x';
        },
      };
      const status = statusOf('lab"\x1b[1m (pid 1) asks:\n');
      const { signal } = new AbortController();
      const tunnel = { pid: process.pid, user: uid, path, status };
      await reconnectTunnel(tunnel, prompter, signal, untold);
      assert.deepEqual(shown, [
        `${own}'s tunnel "lab" (pid 1) asks:" (pid ${process.pid}) asks:`,
        `| root's tunnel "prod" (pid 1) asks:`,
        '| gone',
        '| Password of root:',
      ]);
    });
  });

  it('drops a question for the next one, and does not answer it', async () => {
    const reconnect: ControlHandlers['reconnect'] = async (prompter) => {
      const giveUp = new AbortController();
      const first = prompter.secret('First:', { signal: giveUp.signal });
      setTimeout(() => giveUp.abort(), 50);
      await assert.rejects(first);
      assert.equal(await prompter.line('Second:'), 'two');
    };
    await serving({ reconnect }, async (path) => {
      const questions: NonNullable<AskOptions['questions']> = (question, _peer, signal) =>
        textOf(question, 'question') === 'Second:'
          ? Promise.resolve('two')
          : new Promise((_resolve, reject) => {
              signal.addEventListener('abort', () => reject(signal.reason));
            });
      await ask(path, { do: 'reconnect' }, { questions });
    });
  });

  it('tells what a reload has come to', async () => {
    const answer = { said: 'reloaded: 1 target added', notices: ['needs a restart: --socks'] };
    await serving({ reload: async () => answer }, async (path) => {
      const tunnel = { pid: process.pid, user: uid, path, status: statusOf('lab') };
      const { signal } = new AbortController();
      const said = await reloadTunnel(tunnel, nobody('nobody'), signal, untold.says);
      assert.deepEqual(said, ['reloaded: 1 target added', 'needs a restart: --socks']);
    });
  });

  it('takes texts only from what a reload has come to, and from an error', async () => {
    const odd = { toString: 1, valueOf: 1 };
    const answer = { said: odd, notices: [odd, 7, 'needs a restart: --socks'] } as unknown;
    await serving({ reload: async () => answer as ReloadAnswer }, async (path) => {
      const tunnel = { pid: process.pid, user: uid, path, status: statusOf('lab') };
      const { signal } = new AbortController();
      const said = await reloadTunnel(tunnel, nobody('nobody'), signal, untold.says);
      assert.deepEqual(said, ['needs a restart: --socks']);
    });
    const failure = Object.assign(new TunnelError('unclean', 'x'), { message: odd });
    const reload = (): Promise<never> => Promise.reject(Object.assign(failure, { hint: odd }));
    await serving({ reload }, async (path) => {
      await assert.rejects(ask(path, { do: 'reload' }), (error: TunnelError) => {
        assert.equal(error.message, 'its answer is not understood');
        assert.match(error.hint ?? '', /another version/);
        return true;
      });
    });
  });

  it('gives a question up when whoever was asked leaves', async () => {
    let failure: unknown;
    let end: () => void = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const reconnect: ControlHandlers['reconnect'] = async (prompter, signal) => {
      await prompter.secret('Password:').catch((error: unknown) => (failure = error));
      assert.ok(signal.aborted);
      end();
    };
    await serving({ reconnect }, async (path) => {
      const leaving = new AbortController();
      const questions = (): Promise<string> => {
        leaving.abort();
        return new Promise(() => {});
      };
      await assert.rejects(ask(path, { do: 'reconnect' }, { questions, signal: leaving.signal }));
      await ended;
      assert.ok(failure instanceof TunnelError && failure.code === 'auth-cancelled');
    });
  });

  it('refuses what is no request', async () => {
    await serving({}, async (path) => {
      for (const request of [{ do: 'explode' }, 7, null, 'x'.repeat(70_000)])
        await assert.rejects(ask(path, request), /control-failed|no request|does not know/);
    });
  });

  it('does not make a status for a watcher that has not read the last one', async () => {
    let made = 0;
    const big = 'x'.repeat(4_000_000);
    const status = () => {
      made++;
      return statusOf(big);
    };
    await serving({ status }, async (path) => {
      const slow = connect(path);
      slow.write('{"do":"watch","everyMs":100}\n');
      slow.pause();
      await delay(600);
      assert.ok(made <= 2, `${made} made`);
      slow.destroy();
    });
  });

  it('goes on telling a watcher that reads', async () => {
    await serving({}, async (path) => {
      let seen = 0;
      for await (const answer of converse(path, { do: 'watch', everyMs: 100 })) {
        assert.equal(fieldOf(fieldOf(answer, 'status'), 'name'), 'lab');
        if (++seen === 3) break;
      }
    });
  });

  it('turns clients beyond the limit away, and serves again when others have gone', async () => {
    await serving({}, async (path) => {
      const idle = Array.from({ length: MAX_CLIENTS }, () => connect(path));
      await Promise.all(idle.map((one) => new Promise((resolve) => one.on('connect', resolve))));
      await assert.rejects(ask(path, { do: 'status' }));
      for (const one of idle) one.destroy();
      const until = performance.now() + 5_000;
      for (;;) {
        const answered = await ask(path, { do: 'status' }).then(
          () => true,
          () => false,
        );
        if (answered) break;
        assert.ok(performance.now() < until, 'nobody is served any more');
        await delay(20);
      }
    });
  });

  it('tells several tunnels apart, and says what it can’t', () => {
    const running = (name: string, pid: number, user: number) => ({
      pid,
      user,
      path: '',
      status: statusOf(name, { pid }),
    });
    const all = [running('lab', 5, 1000), running('other', 6, 1000), running('lab', 7, 65534)];
    const found = { tunnels: [...all, running('5', 8, 1000)], silent: [] };
    const named = (name: string | undefined, user: number) =>
      tunnelNamed(found, name, { env: {}, uid: user }).pid;
    assert.equal(named('other', 1000), 6);
    assert.equal(named('7', 1000), 7);
    assert.equal(named('lab', 1000), 5, 'the own one');
    assert.equal(named('5', 1000), 5, 'a process, and no name');
    assert.throws(() => named('lab', 0), /called lab: lab \(pid 5, user 1000\), lab \(pid 7, user/);
    assert.throws(() => named(undefined, 1000), /several tunnels run/);
    assert.throws(() => named('nobody', 1000), /no tunnel is called nobody/);
    assert.throws(() => named('', 1000), /no tunnel is called ""$/);
    assert.throws(() => tunnelNamed({ tunnels: [], silent: [] }, undefined), /no tunnel runs/);
    const hung = { tunnels: [], silent: [{ pid: 9, why: 'no answer within 5 s' }] };
    assert.throws(() => tunnelNamed(hung, '9'), {
      code: 'control-failed',
      message: 'process 9 does not answer: no answer within 5 s',
      hint: /"kill 9"/,
    });
    assert.throws(() => tunnelNamed(hung, 'lab'), { hint: /^no tunnel answers; pid 9 does not/ });
    assert.throws(() => tunnelNamed(hung, undefined), /no tunnel answers/);
  });

  it('takes only the caller’s own tunnel where none is named', () => {
    const running = (name: string, pid: number, user: number) => ({
      pid,
      user,
      path: '',
      status: statusOf(name, { pid }),
    });
    const take = (all: readonly (readonly [string, number, number])[], uid = 0, env = {}) =>
      tunnelNamed({ tunnels: all.map((one) => running(...one)), silent: [] }, undefined, {
        env,
        uid,
      }).pid;
    const failure = (work: () => unknown): TunnelError => {
      try {
        work();
      } catch (error) {
        if (error instanceof TunnelError) return error;
      }
      return assert.fail('it has taken one');
    };
    const alices = ['lab', 7, 1000] as const;
    assert.equal(take([alices, ['own', 8, 0], ['lab', 9, 1001]]), 8);
    const one = failure(() => take([alices]));
    assert.equal(one.code, 'no-such-tunnel');
    assert.match(one.message, /^none of your own tunnels runs$/);
    assert.match(one.hint ?? '', /these run: lab \(pid 7, user 1000\); name one .* as in 7$/);
    const two = failure(() => take([alices, ['own', 8, 0], ['other', 9, 0]]));
    assert.equal(two.message, 'several tunnels run: own (pid 8), other (pid 9)');
    for (const env of [{ SUDO_UID: '1000' }, { DOAS_USER: 'alice', USER: 'alice' }]) {
      assert.equal(take([alices], 1000, env), 7, 'the tunnel of who has called sudo');
      const [variable = ''] = Object.keys(env);
      assert.match(
        failure(() => take([], 1000, env)).hint ?? '',
        new RegExp(`without ${variable}`),
      );
    }
    const other = failure(() => take([], 1001, { SUDO_UID: '1000' }));
    assert.doesNotMatch(other.hint ?? '', /SUDO_UID/, 'sudo -u');
  });

  it('takes no answer for a status that is none', async () => {
    const { link, flows, ...rest } = statusOf('a');
    const wrong = [
      null,
      7,
      {},
      { pid: process.pid },
      { name: 'a' },
      statusOf('a', { pid: 1 }),
      { ...rest, link, flows: { ...flows, list: [{}] } },
      { ...rest, link: { ...link, via: [7] }, flows },
      { ...rest, link, flows, checks: [null] },
      { ...rest, link, flows, targets: [{}] },
      { ...rest, link, flows, device: {} },
      { ...rest, link, flows, counters: { tunnel_flows_total: 'many' } },
    ];
    for (const status of wrong) {
      const found = await serving({ status: () => status as Status }, () => findTunnels(whose));
      assert.ok(!found.tunnels.some(({ pid }) => pid === process.pid));
      const said = found.silent.find(({ pid }) => pid === process.pid);
      assert.equal(said?.why, 'its answer is not understood');
    }
  });

  it('follows a tunnel until it answers with what is no status', async () => {
    let asked = 0;
    const status = () =>
      statusOf('lab', ++asked < 3 ? {} : { refusals: [7] as unknown as Status['refusals'] });
    await serving({ status }, async (path) => {
      const tunnel = { pid: process.pid, user: uid, path, status: statusOf('lab') };
      const seen: string[] = [];
      await assert.rejects(async () => {
        for await (const { name } of followStatus(tunnel, 100, AbortSignal.timeout(5_000)))
          seen.push(name);
      }, /not understood/);
      assert.deepEqual(seen, ['lab', 'lab']);
    });
  });

  it('believes no socket that has the number of another process', async () => {
    let asked = 0;
    const handlers = {
      status: () => statusOf('office', { pid: 1 }),
      stop: () => asked++,
    };
    const look = async (path: string): Promise<void> => {
      const { tunnels, silent } = await findTunnels(whose);
      assert.ok(!tunnels.some((tunnel) => tunnel.path === path));
      const said = silent.find(({ why }) => why === `process ${process.pid} listens there`);
      assert.equal(said?.pid, 1);
      const tunnel = { pid: 1, user: uid, path, status: statusOf('office', { pid: 1 }) };
      await assert.rejects(stopTunnel(tunnel, new AbortController().signal), /listens there/);
      assert.equal(asked, 0);
    };
    await serving(handlers, look, 1);
  });

  it('looks at so many sockets of a directory, and says so', async () => {
    const directory = join(base, 'crowded');
    const crowded = { env: { RUNTIME_DIRECTORY: directory }, uid };
    makeDirectory(crowded);
    for (let pid = 1; pid <= MAX_SOCKETS + 3; pid++)
      writeFileSync(join(directory, `${NO_PID + pid}.sock`), '');
    const { silent } = await findTunnels(crowded);
    const said = silent.filter(({ why }) => why.includes(directory));
    assert.equal(said.length, 1);
    assert.match(said[0]?.why ?? '', /one of 3 that are left out: .* has over 64 sockets/);
    rmSync(directory, { recursive: true });
  });

  it('root sees a tunnel of another user as that', { skip: uid !== 0 }, async () => {
    const stranger = 65534;
    const directory = join(base, 'stranger');
    mkdirSync(directory, { mode: 0o700 });
    chownSync(directory, stranger, stranger);
    chmodSync(base, 0o711);
    const answer = JSON.stringify({ ok: true, status: statusOf('lab') });
    const child = spawn(
      process.execPath,
      [
        '-e',
        `const answer = JSON.parse(process.argv[1]);
        answer.status.pid = process.pid;
        const server = () => require('net').createServer((socket) => {
          socket.on('error', () => {}).once('data', () => socket.end(JSON.stringify(answer) + '\\n'));
        });
        server().listen(process.pid + '.sock', () => {
          server().listen('1.sock', () => console.log('ready'));
        });`,
        answer,
      ],
      { cwd: directory, uid: stranger, gid: stranger, stdio: ['ignore', 'pipe', 'inherit'] },
    );
    try {
      await once(child.stdout, 'data');
      const env = { RUNTIME_DIRECTORY: `${join(base, 'run')}:${directory}` };
      await serving({}, async () => {
        const found = await findTunnels({ env, uid });
        const other = found.tunnels.find(({ pid }) => pid === child.pid);
        assert.equal(other?.user, stranger);
        assert.equal(tunnelNamed(found, 'lab').pid, process.pid);
        assert.ok(found.silent.some(({ pid, why }) => pid === 1 && why.includes(`${child.pid}`)));
      });
    } finally {
      child.kill();
      await once(child, 'close');
    }
  });

  describe('of a tunnel that cuts off whoever asks', () => {
    /** A process that listens as a tunnel does, and does `then` to each connection. */
    async function cutting(then: string, work: (pid: number) => Promise<void>): Promise<void> {
      const directory = makeDirectory(whose);
      const child = spawn(
        process.execPath,
        [
          '-e',
          `const [status] = process.argv.slice(1);
          const path = process.pid + '.sock';
          let connections = 0;
          const server = require('net').createServer((socket) => {
            connections++;
            // Closed with the request unread, which the client is told as ECONNRESET.
            const cut = (then = () => {}) =>
              require('child_process').spawnSync('sleep', ['0.2']) && (socket.destroy(), then());
            const answer = () => socket.on('data', () => {
              const known = { ...JSON.parse(status), pid: process.pid };
              socket.end(JSON.stringify({ ok: true, status: known }) + '\\n');
            });
            ${then}
          });
          server.listen(path, () => console.log('ready'));`,
          JSON.stringify(statusOf('lab')),
        ],
        { cwd: directory, stdio: ['ignore', 'pipe', 'inherit'] },
      );
      const closed = once(child, 'close');
      try {
        await once(child.stdout, 'data');
        assert.ok(child.pid !== undefined);
        await work(child.pid);
      } finally {
        child.kill('SIGKILL');
        await closed;
        rmSync(socketIn(directory, child.pid ?? 0), { force: true });
      }
    }
    const found = async (pid: number): Promise<readonly string[]> => {
      const { tunnels, silent } = await findTunnels(whose);
      return [
        ...tunnels.filter((it) => it.pid === pid).map(({ status }) => `runs: ${status.name}`),
        ...silent.filter((it) => it.pid === pid).map(({ why }) => `silent: ${why}`),
      ];
    };

    it('says nothing where its socket is gone then', () =>
      cutting('server.close(); cut();', async (pid) => assert.deepEqual(await found(pid), [])));
    it('is stopped where it ends already', async () => {
      const never = new AbortController().signal;
      const stop = (pid: number): Promise<void> => {
        const path = socketIn(makeDirectory(whose), pid);
        return stopTunnel({ path, pid, user: uid, status: statusOf('lab', { pid }) }, never);
      };
      await cutting('server.close(); cut(() => setTimeout(() => process.exit(), 200));', stop);
      await cutting('cut();', (pid) =>
        assert.rejects(stop(pid), /it closes the connection without an answer/),
      );
    });
    it('says nothing where its process has ended then', () =>
      cutting('cut(() => process.exit());', async (pid) => assert.deepEqual(await found(pid), [])));
    it('says nothing where it ended with the question unread', () =>
      cutting('socket.end();server.close();', async (pid) =>
        assert.deepEqual(await found(pid), []),
      ));
    it('shows it where it answers the second time', () =>
      cutting('connections === 1 ? cut() : answer();', async (pid) =>
        assert.deepEqual(await found(pid), ['runs: lab']),
      ));
    it('names it as silent where it runs on and cuts off again', () =>
      cutting('cut();', async (pid) =>
        assert.deepEqual(await found(pid), ['silent: it closes the connection without an answer']),
      ));
  });

  it('removes the sockets of killed tunnels', async () => {
    // Of a unit that has two directories: also in the one that no new tunnel uses.
    const env = { RUNTIME_DIRECTORY: `${join(base, 'run')}:${join(base, 'second')}` };
    const all = ['run', 'second'].map((name) =>
      socketIn(makeDirectory({ env: { RUNTIME_DIRECTORY: join(base, name) }, uid }), NO_PID),
    );
    for (const dead of all) {
      spawnSync(process.execPath, [
        '-e',
        `require('net').createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 9))`,
      ]);
      assert.ok(existsSync(dead));
    }
    await sweep({ env, uid });
    for (const dead of all) assert.ok(!existsSync(dead));
  });
});
