import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TunnelError } from '../../../../src/errors/errors.ts';
import {
  type HelperStart,
  PrivilegedPart,
  type Root,
} from '../../../../src/system/privileged/part.ts';
import {
  decodeAnswer,
  encode,
  MAX_RULESET_CHARACTERS,
  MAX_SENTENCE,
  MAX_SENTENCES,
  type PrivilegedAnswer,
  type PrivilegedRequest,
  RULESET_PIECE,
} from '../../../../src/system/privileged/protocol.ts';

const TUN = 'tun4';

/** A part whose root notes what it is asked for. */
class Twin {
  readonly done: string[] = [];
  readonly answers: PrivilegedAnswer[] = [];
  readonly ends: string[] = [];
  ruleset = '{}';
  /** Ends what the helper's start waits for. */
  helperStarted: (started: HelperStart) => void = () => {};
  failToApply: Error | undefined;
  failToUndo: Error | undefined;
  readonly part: PrivilegedPart;

  constructor(foreign: readonly string[] = ['tun0']) {
    this.part = new PrivilegedPart({
      root: this.#root(),
      send: (message) => {
        const answer = decodeAnswer(message);
        assert.ok(answer !== undefined);
        this.answers.push(answer);
      },
      end: (isRefused) => {
        this.ends.push(isRefused ? 'refused' : 'ended');
      },
      foreign: new Set(foreign),
    });
  }

  async ask(request: PrivilegedRequest): Promise<PrivilegedAnswer> {
    const before = this.answers.length;
    this.part.received(encode(request));
    while (this.answers.length === before) await turn();
    const answer = this.answers.at(-1);
    assert.ok(answer !== undefined);
    return answer;
  }

  #root(): Root {
    const note = (what: string) => void this.done.push(what);
    return {
      recover: async () => ({ done: Array(99).fill('x'.repeat(9999)), failed: [] }),
      makeDirectory() {
        note('directory');
        return '/run/tunnel-abcdef';
      },
      removeDirectory: (path) => note(`remove ${path}`),
      startHelper: (directory) => {
        note(`helper ${directory}`);
        return new Promise((resolve) => {
          this.helperStarted = resolve;
        });
      },
      resolvConf: (servers) => ({
        describe: () => 'resolv.conf',
        apply: async () => {
          if (this.failToApply !== undefined) throw this.failToApply;
          note(`write ${servers.join(' ')}`);
        },
        undo: async () => {
          if (this.failToUndo !== undefined) throw this.failToUndo;
          note('restore');
        },
      }),
      resolvectl: async (args) => note(args.join(' ')),
      serversOf: (device) => (device === 'tun9' ? [] : ['198.18.4.53', '2001:2:0:4::35']),
      listRuleset: async () => {
        note('nft');
        return { json: this.ruleset };
      },
    };
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

const code = (answer: PrivilegedAnswer) => (answer.ok ? 'ok' : answer.code);

describe('the part that is root', () => {
  it('starts one helper, in a directory that it makes and removes itself', async () => {
    const twin = new Twin();
    assert.equal(code(await twin.ask({ type: 'helper' })), 'privileged-refused');
    assert.deepEqual(await twin.ask({ type: 'directory' }), {
      ok: true,
      value: '/run/tunnel-abcdef',
    });
    assert.equal(code(await twin.ask({ type: 'directory' })), 'privileged-refused');
    const started = twin.ask({ type: 'helper' });
    twin.helperStarted({ status: 0, complaint: '' });
    assert.deepEqual(await started, { ok: true, value: { status: 0, complaint: '' } });
    for (const type of ['helper', 'directory'] as const)
      assert.equal(code(await twin.ask({ type })), 'privileged-refused');
    assert.deepEqual(twin.done, [
      'directory',
      'helper /run/tunnel-abcdef',
      'remove /run/tunnel-abcdef',
    ]);
  });

  it('names the servers of a tunnel’s device itself, and restores at the end', async () => {
    const twin = new Twin();
    assert.equal(code(await twin.ask({ type: 'resolv-conf', device: TUN })), 'ok');
    assert.equal(code(await twin.ask({ type: 'resolv-conf', device: TUN })), 'privileged-refused');
    await twin.part.close();
    await twin.part.close();
    assert.deepEqual(twin.done, ['write 198.18.4.53 2001:2:0:4::35', 'restore']);
  });

  it('restores once when it is asked to', async () => {
    const twin = new Twin();
    await twin.ask({ type: 'resolv-conf', device: TUN });
    await twin.ask({ type: 'restore' });
    await twin.ask({ type: 'restore' });
    await twin.part.close();
    assert.equal(twin.done.filter((it) => it === 'restore').length, 1);
  });

  it('passes errors on with their code and hint', async () => {
    const twin = new Twin();
    twin.failToApply = new TunnelError('journal', 'it is full', { hint: 'make room' });
    assert.deepEqual(await twin.ask({ type: 'resolv-conf', device: TUN }), {
      ok: false,
      code: 'journal',
      message: 'it is full',
      hint: 'make room',
    });
    twin.failToApply = new Error('what is this');
    assert.equal(code(await twin.ask({ type: 'resolv-conf', device: TUN })), 'privileged-refused');
    await twin.part.close();
    assert.deepEqual(twin.done, []);
  });

  it('touches no device that was there before, or is no tunnel’s', async () => {
    const twin = new Twin(['tun0']);
    for (const device of ['tun0', 'tun9']) {
      for (const request of [
        { type: 'resolv-conf', device },
        { type: 'resolved', device, domains: ['.'] },
        { type: 'revert', device },
      ] as const)
        assert.equal(code(await twin.ask(request)), 'privileged-refused');
    }
    assert.deepEqual(twin.done, []);
  });

  it('gives systemd-resolved the settings of a device, and takes them back', async () => {
    const twin = new Twin();
    await twin.ask({ type: 'resolved', device: TUN, domains: ['corp.example'] });
    await twin.ask({ type: 'revert', device: TUN });
    assert.ok(twin.done.includes(`dns ${TUN} 198.18.4.53 2001:2:0:4::35`));
    assert.ok(twin.done.includes(`domain ${TUN} ~corp.example`));
    assert.equal(twin.done.at(-1), `revert ${TUN}`);
  });

  it('answers within a message, however much there is to say', async () => {
    const twin = new Twin();
    const report = await twin.ask({ type: 'recover' });
    assert.deepEqual(report, {
      ok: true,
      value: { done: Array(MAX_SENTENCES).fill('x'.repeat(MAX_SENTENCE)), failed: [] },
    });
    twin.ruleset = '\u0001'.repeat(RULESET_PIECE + 5);
    const pieces = [];
    for (const from of [0, RULESET_PIECE]) pieces.push(await twin.ask({ type: 'ruleset', from }));
    assert.deepEqual(
      pieces.map((it) => it.ok && (it.value as { piece: string }).piece.length),
      [RULESET_PIECE, 5],
    );
    assert.deepEqual(twin.done, ['nft'], 'read once');
    const much = new Twin();
    much.ruleset = 'x'.repeat(MAX_RULESET_CHARACTERS + 1);
    assert.deepEqual(await much.ask({ type: 'ruleset', from: 0 }), {
      ok: true,
      value: { why: 'there are too many rules' },
    });
  });

  for (const [what, send] of [
    ['what is no request', (twin: Twin) => twin.part.received(Buffer.from('{"type":"run"}'))],
    [
      'a second request before the answer to the first',
      (twin: Twin) => {
        twin.part.received(encode({ type: 'restore' }));
        twin.part.received(encode({ type: 'restore' }));
      },
    ],
  ] as const) {
    it(`refuses ${what}, and undoes what it did`, async () => {
      const twin = new Twin();
      await twin.ask({ type: 'resolv-conf', device: TUN });
      const answers = twin.answers.length;
      send(twin);
      await twin.part.close();
      assert.deepEqual(twin.ends, ['refused']);
      assert.equal(twin.done.filter((it) => it === 'restore').length, 1);
      twin.part.received(encode({ type: 'directory' }));
      await turn();
      assert.equal(twin.answers.length, answers, 'it answers no more');
      assert.ok(!twin.done.includes('directory'));
    });
  }

  it('says what could not be put back', async () => {
    const twin = new Twin();
    await twin.ask({ type: 'resolv-conf', device: TUN });
    twin.failToUndo = new Error('ENOSPC');
    await assert.rejects(twin.part.close(), {
      code: 'dns-undo',
      message: 'resolv.conf could not be put back: ENOSPC',
    });
  });

  it('undoes what it did when the link has ended', async () => {
    const twin = new Twin();
    await twin.ask({ type: 'resolv-conf', device: TUN });
    twin.part.linkEnded();
    twin.part.linkEnded();
    await twin.part.close();
    assert.deepEqual(twin.ends, ['ended']);
    assert.equal(twin.done.filter((it) => it === 'restore').length, 1);
  });

  it('waits at the end for what it is doing, and removes the directory', async () => {
    const twin = new Twin();
    await twin.ask({ type: 'directory' });
    twin.part.received(encode({ type: 'helper' }));
    await turn();
    const closed = twin.part.close();
    twin.helperStarted({ status: 'SIGTERM', complaint: '' });
    await closed;
    assert.equal(twin.done.at(-1), 'remove /run/tunnel-abcdef');
  });
});
