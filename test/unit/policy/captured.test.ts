import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UsageError } from '../../../src/errors/errors.ts';
import { formatPrefix, hostPrefix, type Prefix, parsePrefix } from '../../../src/net/prefix.ts';
import { CapturedPrefixes, type PrefixCapture } from '../../../src/policy/captured.ts';
import type { CaptureRules } from '../../../src/policy/policy.ts';

/** A device on which setPrefixes is `apply`. */
function attached(rules: CaptureRules, setPrefixes: PrefixCapture['setPrefixes']) {
  const prefixes = new CapturedPrefixes(rules);
  prefixes.attach({ deviceName: 'tun0', setPrefixes });
  return prefixes;
}

const rules = (...targets: string[]) => ({
  targets: targets.map((text) => ({ prefix: parsePrefix(text).prefix, ports: [] })),
  exclusions: [],
});

function captured(...targets: string[]) {
  const applied: string[][] = [];
  const fail: { next: Error | undefined } = { next: undefined };
  const prefixes = attached(rules(...targets), async (wanted) => {
    if (fail.next !== undefined) throw fail.next;
    applied.push(wanted.map(formatPrefix));
  });
  return { prefixes, applied, fail, current: () => prefixes.current.map(formatPrefix) };
}

const [OLD, NEW] = [hostPrefix('192.0.2.0'), hostPrefix('192.0.2.2')];

describe('CapturedPrefixes', () => {
  it('leaves out the new address before the old one is captured', async () => {
    const { prefixes, applied, current } = captured('192.0.2.0/30');
    await prefixes.leaveOutOnly([OLD]);
    await prefixes.leaveOutToo([NEW]);
    await prefixes.leaveOutOnly([NEW]);
    assert.deepEqual(applied, [
      ['192.0.2.1', '192.0.2.2/31'],
      ['192.0.2.1', '192.0.2.3'],
      ['192.0.2.0/31', '192.0.2.3'],
    ]);
    assert.deepEqual(current(), applied.at(-1));
  });

  it('routes some by themselves within a wider target, and reads the rules anew', async () => {
    const single: Prefix[] = ['10.1.2.2', '10.1.2.3', '192.0.2.0', '192.0.2.9'].map(hostPrefix);
    const applied: string[][] = [];
    const prefixes = attached(
      {
        ...rules('10.0.0.0/8'),
        single,
        exclusions: [{ prefix: hostPrefix('192.0.2.9'), ports: [] }],
      },
      async (wanted) => {
        applied.push(wanted.map(formatPrefix));
      },
    );
    await prefixes.leaveOutOnly([OLD]);
    single.push(hostPrefix('2001:db8::53'));
    await prefixes.refresh();
    await prefixes.refresh();
    assert.deepEqual(applied, [
      ['10.0.0.0/8', '10.1.2.2', '10.1.2.3'],
      ['10.0.0.0/8', '10.1.2.2', '10.1.2.3', '2001:db8::53'],
    ]);
  });

  it('makes one change at a time: one that fails takes back itself alone', async () => {
    const single: Prefix[] = [];
    let begin = () => {};
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    let fail: (error: Error) => void = () => {};
    const failure = new Promise<void>((_resolve, reject) => {
      fail = reject;
    });
    const prefixes = attached({ ...rules('192.0.2.0/30'), single }, async (wanted) => {
      if (!wanted.some(({ address }) => address === '10.1.2.3')) return;
      begin();
      await failure;
    });
    await prefixes.leaveOutOnly([OLD]);
    single.push(hostPrefix('10.1.2.3'));
    const refreshed = assert.rejects(prefixes.refresh(), /no room/);
    await begun;
    single.pop();
    const leftOut = prefixes.leaveOutToo([NEW]);
    fail(new Error('no room'));
    await Promise.all([refreshed, leftOut]);
    assert.deepEqual(prefixes.current.map(formatPrefix), ['192.0.2.1', '192.0.2.3']);
    await prefixes.refresh();
    assert.deepEqual(prefixes.current.map(formatPrefix), ['192.0.2.1', '192.0.2.3']);
  });

  it('applies nothing when nothing changes', async () => {
    const { prefixes, applied } = captured('10.0.0.0/8');
    await prefixes.leaveOutToo([OLD]);
    await prefixes.leaveOutToo([NEW]);
    await prefixes.leaveOutOnly([NEW]);
    assert.deepEqual(applied, [['10.0.0.0/8']]);
  });

  it('forgets what was tried in vain', async () => {
    const { prefixes, current } = captured('192.0.2.0/30');
    await prefixes.leaveOutOnly([OLD]);
    for (const address of ['192.0.2.1', '192.0.2.2', '192.0.2.3'])
      await prefixes.leaveOutToo([hostPrefix(address)]);
    assert.deepEqual(current(), ['192.0.2.1', '192.0.2.2']);
  });

  it('stays as it was when it can not be changed', async () => {
    const { prefixes, fail, current } = captured('192.0.2.0/30');
    await prefixes.leaveOutOnly([OLD]);
    const before = current();
    fail.next = new Error('no helper');
    await assert.rejects(prefixes.leaveOutToo([NEW]), fail.next);
    assert.deepEqual(current(), before);
    fail.next = undefined;
    await prefixes.leaveOutToo([]);
    assert.deepEqual(current(), before);
  });

  it('takes other rules, and goes on to leave out what it left out', async () => {
    const { prefixes, applied, current } = captured('192.0.2.8/31');
    await prefixes.setRules(rules('192.0.2.8/32'));
    await prefixes.leaveOutOnly([OLD]);
    await prefixes.leaveOutToo([NEW]);
    await prefixes.setRules(rules('192.0.2.0/30'));
    assert.deepEqual(current(), ['192.0.2.1', '192.0.2.3']);
    assert.deepEqual(applied.at(-1), current());
    await prefixes.leaveOutOnly([NEW]);
    assert.deepEqual(current(), ['192.0.2.0/31', '192.0.2.3']);
  });

  it('keeps its rules when there is nothing to capture by others', async () => {
    const { prefixes, current } = captured('192.0.2.0/31');
    await prefixes.leaveOutOnly([OLD]);
    await assert.rejects(prefixes.setRules(rules('192.0.2.0/32')), UsageError);
    await prefixes.leaveOutOnly([]);
    assert.deepEqual(current(), ['192.0.2.0/31']);
  });

  it('says what is captured, and applies nothing before there is a device', async () => {
    const prefixes = new CapturedPrefixes(rules('192.0.2.0/30'));
    await prefixes.leaveOutToo([OLD]);
    assert.equal(prefixes.deviceName, undefined);
    assert.deepEqual(
      ['192.0.2.0', '192.0.2.1', '2001:db8::1'].map((address) => prefixes.contains(address)),
      [false, true, false],
    );
  });

  it('rejects when nothing would be left to capture', async () => {
    const { prefixes } = captured('192.0.2.0/32');
    await assert.rejects(prefixes.leaveOutToo([OLD]), UsageError);
  });
});
