import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { describe, it } from 'node:test';
import { addon, type LinkHandle } from '../../../../src/native/addon.ts';
import { silentObserver } from '../../../../src/observe/observer.ts';
import { LINK_VARIABLE, PrivilegedLink } from '../../../../src/system/privileged/client.ts';
import {
  decodeRequest,
  encode,
  type PrivilegedAnswer,
  type PrivilegedRequest,
} from '../../../../src/system/privileged/protocol.ts';

const isRoot = process.getuid?.() === 0;

type Answering = (request: PrivilegedRequest, link: LinkHandle) => PrivilegedAnswer | undefined;

/** A client, and the other end of its link, which answers with `answering`. */
function connected(answering: Answering): { link: PrivilegedLink; far: LinkHandle } {
  const pair = addon().linkPair((message) => {
    const request = message === null ? undefined : decodeRequest(message);
    const answer = request && answering(request, pair.link);
    if (answer !== undefined) addon().linkSend(pair.link, encode(answer));
  });
  const env: NodeJS.ProcessEnv = { [LINK_VARIABLE]: String(pair.fd) };
  const link = PrivilegedLink.take(env);
  assert.deepEqual(env, {}, 'no child sees it');
  assert.ok(link !== undefined);
  return { link, far: pair.link };
}

describe('the link to the part that is root', () => {
  it('is none without the variable, and an error with another descriptor', () => {
    assert.equal(PrivilegedLink.take({}), undefined);
    const file = openSync('/dev/null', 'r');
    try {
      for (const text of [String(file), '65535', '-1', '1e3', '', 'x'])
        assert.throws(() => PrivilegedLink.take({ [LINK_VARIABLE]: text }), {
          code: 'privileged-lost',
        });
    } finally {
      closeSync(file);
    }
  });

  it('is refused when its other end is not root’s', { skip: isRoot && 'this is root' }, () => {
    const pair = addon().linkPair(() => {});
    assert.throws(() => PrivilegedLink.take({ [LINK_VARIABLE]: String(pair.fd) }), {
      code: 'privileged-lost',
    });
    closeSync(pair.fd);
    addon().linkClose(pair.link);
  });

  const skip = !isRoot && 'needs root';

  it('asks one thing after the other, and gives values and errors', { skip }, async () => {
    let waiting = 0;
    const { link, far } = connected((request, to) => {
      waiting += 1;
      assert.equal(waiting, 1, 'the last request was not answered yet');
      setTimeout(() => {
        waiting -= 1;
        const answer: PrivilegedAnswer =
          request.type === 'directory'
            ? { ok: true, value: '/run/x' }
            : { ok: false, code: 'dns-resolved', message: 'no', hint: 'do' };
        addon().linkSend(to, encode(answer));
      }, 20);
      return undefined;
    });
    const settings = link.resolved('tun0', ['.']);
    const [directory, failed] = await Promise.allSettled([link.helper.directory(), settings.set()]);
    assert.deepEqual(directory, { status: 'fulfilled', value: '/run/x' });
    assert.equal(failed.status === 'rejected' && failed.reason.code, 'dns-resolved');
    addon().linkClose(far);
    assert.equal((await link.ended).code, 'privileged-lost');
  });

  it('puts a ruleset together from its pieces', { skip }, async () => {
    const ruleset = 'abcdefghij';
    const { link, far } = connected((request) =>
      request.type === 'ruleset'
        ? {
            ok: true,
            value: { piece: ruleset.slice(request.from, request.from + 4), length: ruleset.length },
          }
        : undefined,
    );
    assert.deepEqual(await link.listRuleset(), { json: ruleset });
    addon().linkClose(far);
    await link.ended;
  });

  it('undoes only what it has done', { skip }, async () => {
    const asked: string[] = [];
    const { link, far } = connected(({ type }) => {
      asked.push(type);
      return { ok: true, value: null };
    });
    const change = link.resolvConf('tun0');
    await change.undo();
    await change.apply();
    await change.undo();
    await change.undo();
    assert.deepEqual(asked, ['resolv-conf', 'restore']);
    addon().linkClose(far);
    await link.ended;
  });

  it('fails what waits, and all that follows, when the other end is gone', { skip }, async () => {
    const { link } = connected((_request, to) => {
      setImmediate(() => addon().linkClose(to));
      return undefined;
    });
    await assert.rejects(link.recover(silentObserver), { code: 'privileged-lost' });
    await assert.rejects(link.helper.start(), { code: 'privileged-lost' });
    assert.equal((await link.ended).code, 'privileged-lost');
  });

  it('ends when it is told what it has not asked for', { skip }, async () => {
    const { link, far } = connected(() => undefined);
    addon().linkSend(far, encode({ ok: true, value: 1 }));
    assert.equal((await link.ended).code, 'privileged-lost');
    addon().linkClose(far);
  });
});
