/** Which destinations stand for targets, and what is said of each answer. */
import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import { buildDoctorConfiguration } from '../../../src/config/doctoroptions.ts';
import {
  type ForwardingOptions,
  MAX_SAMPLES,
  samplesOf,
  tryForwarding,
} from '../../../src/doctor/forwarding.ts';
import { BusyError, ConnectError, type Connector } from '../../../src/flow/connector.ts';
import { StreamConduit } from '../../../src/flow/streamconduit.ts';
import { formatDestination } from '../../../src/net/destination.ts';
import type { Refusal } from '../../../src/net/refusal.ts';
import { serverKind } from '../../../src/ssh/servers.ts';
import { given } from '../../support/options.ts';
import { TestConduit } from '../../support/testconduit.ts';

function sampled(targets: readonly string[], perRange = 1, exclude: readonly string[] = []) {
  const { rules } = buildDoctorConfiguration(given({ exclude: [...exclude] }, targets));
  const { samples, left } = samplesOf(rules, perRange);
  return {
    at: samples.map(({ destination }) => formatDestination(destination)),
    exact: samples.map(({ exact }) => exact),
    left: left.map(({ target }) => target),
  };
}

describe('samplesOf', () => {
  it('takes what the user has named as it is', () => {
    const found = sampled(['10.1.2.3:80,443', 'api.example.com:8443', '[2001:db8::7]:22']);
    assert.deepEqual(found.at, [
      'api.example.com:8443',
      '10.1.2.3:80',
      '10.1.2.3:443',
      '[2001:db8::7]:22',
    ]);
    assert.deepEqual(found.exact, [true, true, true, true]);
  });

  it('takes the first address of a range, and port 443 where none is given', () => {
    const found = sampled(['10.0.0.0/8', '10.1.2.3', '2001:db8::/32', '10.5.0.0/16:80-90']);
    assert.deepEqual(found.at, [
      '10.0.0.1:443',
      '10.1.2.3:443',
      '[2001:db8::1]:443',
      '10.5.0.1:80',
    ]);
    assert.deepEqual(found.exact, [false, false, false, false]);
  });

  it('takes more of a range when asked for them, and each once', () => {
    assert.deepEqual(sampled(['10.0.0.0/24'], 3).at, [
      '10.0.0.1:443',
      '10.0.0.127:443',
      '10.0.0.254:443',
    ]);
    assert.deepEqual(sampled(['10.0.0.0/31'], 4).at, ['10.0.0.0:443', '10.0.0.1:443']);
    assert.deepEqual(sampled(['10.0.0.9/32'], 4).at, ['10.0.0.9:443']);
  });

  it('leaves out what is excluded, and what stands for anything', () => {
    const found = sampled(['10.0.0.0/8', '0/0', '*.example.com', '10.9.0.0/16'], 2, ['10.0.0.1']);
    assert.deepEqual(found.at, ['10.255.255.254:443', '10.9.0.1:443', '10.9.255.254:443']);
    assert.deepEqual(found.left, ['*.example.com', '0/0']);
    assert.deepEqual(sampled(['10.1.2.3:80'], 1, ['10.0.0.0/8']).left, ['10.1.2.3:80']);
  });

  it('has a limit, and names what is beyond it', () => {
    const targets = Array.from({ length: MAX_SAMPLES + 2 }, (_, n) => `10.0.${n}.1:80`);
    const found = sampled(targets);
    assert.equal(found.at.length, MAX_SAMPLES);
    assert.deepEqual(found.left, targets.slice(MAX_SAMPLES));
  });
});

/** `answers`: by destination; others open. */
async function tried(
  targets: readonly string[],
  answers: Readonly<Record<string, Refusal | 'busy' | 'silent'>>,
  more: Partial<ForwardingOptions> = {},
) {
  let open = 0;
  let most = 0;
  const opened: TestConduit[] = [];
  const connector: Connector = {
    async connect(destination) {
      most = Math.max(most, ++open);
      await new Promise((resolve) => setImmediate(resolve));
      open--;
      const answer = answers[formatDestination(destination)];
      if (answer === 'silent') return new Promise(() => {});
      if (answer === 'busy') throw new BusyError('too many channels');
      if (answer !== undefined)
        throw new ConnectError(answer, `${formatDestination(destination)}: said`, { hint: 'its' });
      const conduit = new TestConduit();
      opened.push(conduit);
      return conduit;
    },
  };
  const { rules } = buildDoctorConfiguration(given({}, targets));
  const { findings, heldUpBy } = await tryForwarding(samplesOf(rules, 1), {
    connector,
    limits: () => ({ what: 'the account may lack the right', hint: 'ask' }),
    server: undefined,
    signal: new AbortController().signal,
    patienceMs: 50,
    ...more,
  });
  return { findings, opened, most, heldUpBy };
}

describe('tryForwarding', () => {
  it('opens each once, a few at a time, and ends them', async () => {
    const targets = Array.from({ length: 30 }, (_, n) => `10.0.${n}.1:80`);
    const { findings, opened, most } = await tried(targets, {});
    assert.equal(findings.length, 30);
    assert.ok(findings.every(({ state }) => state === 'ok'));
    assert.deepEqual(
      findings.map(({ subject }) => subject),
      targets,
    );
    assert.equal(opened.length, 30);
    assert.ok(opened.every(({ said }) => said.includes('abort without an error')));
    assert.ok(most <= 8, String(most));
  });

  for (const [answer, exact, sample] of [
    ['refused', 'failed', 'ok'],
    ['unreachable', 'failed', 'note'],
    ['timeout', 'failed', 'note'],
    ['silent', 'failed', 'note'],
    ['prohibited', 'failed', 'failed'],
    ['busy', 'warning', 'warning'],
  ] as const) {
    it(`says of "${answer}" what it means for a destination, and for a range`, async () => {
      const { findings } = await tried(['10.1.2.3:80', '10.9.0.0/16'], {
        '10.1.2.3:80': answer,
        '10.9.0.1:443': answer,
      });
      assert.deepEqual(
        findings.map(({ state }) => state),
        [exact, sample],
      );
      assert.ok(findings.every(({ hint }) => hint !== undefined || answer === 'busy'));
    });
  }

  it('says who may be to blame only where nothing was permitted', async () => {
    const nothing = await tried(['10.1.2.3:80'], { '10.1.2.3:80': 'prohibited' });
    assert.match(nothing.findings[0]?.detail ?? '', /the account may lack the right/);
    const some = await tried(['10.1.2.3:80', '10.1.2.4:80'], { '10.1.2.3:80': 'prohibited' });
    assert.match(some.findings[0]?.detail ?? '', /it permits others/);
    const silent = await tried(['10.1.2.3:80', '10.1.2.4:80'], {
      '10.1.2.3:80': 'prohibited',
      '10.1.2.4:80': 'silent',
    });
    assert.match(silent.findings[0]?.detail ?? '', /the account may lack the right/);
  });

  it('fails for a range only where nothing was permitted', async () => {
    const prohibited = { '10.9.0.1:443': 'prohibited' } as const;
    const nothing = await tried(['10.9.0.0/16'], prohibited);
    assert.equal(nothing.findings[0]?.state, 'failed');
    assert.match(nothing.findings[0]?.detail ?? '', /the account may lack the right/);
    const some = await tried(['10.9.0.0/16', '10.1.2.4:80'], prohibited);
    assert.equal(some.findings[0]?.state, 'warning');
  });

  it('names a few of those that are left out', async () => {
    const { findings } = await tried(
      Array.from({ length: 2_000 }, (_, n) => `10.${n >> 8}.${n & 255}.1:80`),
      {},
    );
    const { detail } = findings.at(-1) ?? { detail: '' };
    assert.match(detail, /^10\.0\.64\.1:80 was not tried: only 64 .*; and 1931 more$/);
    assert.ok(detail.length < 500);
  });

  it('does not say that what is silent is permitted', async () => {
    const { findings } = await tried(['10.9.0.0/16'], { '10.9.0.1:443': 'silent' });
    assert.match(findings[0]?.detail ?? '', /whether it is permitted is not known/);
  });

  it('says what may be done at a server that is not OpenSSH', async () => {
    const { findings } = await tried(
      ['10.1.2.3:80', '10.1.2.4:80'],
      { '10.1.2.3:80': 'prohibited' },
      { server: serverKind('paramiko_2.12.0') },
    );
    assert.match(findings[0]?.hint ?? '', /check_channel_direct_tcpip_request/);
    assert.doesNotMatch(findings[0]?.hint ?? '', /sshd_config/);
  });

  it('calls a range prohibited where nothing at all is forwarded', async () => {
    const answers = { '10.9.0.1:443': 'prohibited' } as const;
    const why = { what: 'the key may not forward', hint: 'ask' };
    const certain = await tried(['10.9.0.0/16'], answers, {
      limits: () => ({ ...why, certain: true }),
    });
    assert.equal(certain.findings[0]?.state, 'failed');
    assert.match(certain.findings[0].detail, /: the key may not forward$/);
    const perhaps = await tried(['10.9.0.0/16'], answers, { limits: () => why });
    assert.equal(perhaps.findings[0]?.state, 'failed');
    assert.match(perhaps.findings[0].detail, /: the key may not forward$/);
    assert.match(perhaps.findings[0].hint ?? '', /name one that should be; otherwise, ask$/);
  });

  it('asks a server that connects to one after the other for no more than one', async () => {
    const { findings, most, heldUpBy } = await tried(
      ['10.9.0.0/16', '10.1.2.3:80', '10.1.2.4:80', '10.1.2.5:80'],
      { '10.1.2.4:80': 'silent' },
      { server: serverKind('Erlang/4.15.2') },
    );
    assert.equal(most, 1);
    assert.equal(heldUpBy, '10.1.2.4:80');
    assert.deepEqual(
      findings.map(({ state }) => state),
      ['note', 'ok', 'failed', 'warning'],
    );
    for (const { detail } of [findings[0], findings[3]].filter((found) => found !== undefined))
      assert.match(detail, /not tried, .* and 10\.1\.2\.4:80 does not answer/);
  });

  describe('at a server that confirms before it connects', () => {
    const server = serverKind('Twisted_22.4.0');

    it('does not call a destination open that stays silent', async () => {
      const { findings } = await tried(['10.1.2.3:80'], {}, { server });
      assert.equal(findings[0]?.state, 'note');
      assert.match(findings[0].detail, /still open/);
    });

    it('tells one that ends at once, and one that says something', async () => {
      for (const [make, state] of [
        [() => Duplex.from([]), 'failed'],
        [() => Duplex.from(['220 hello']), 'ok'],
      ] as const) {
        const connector: Connector = { connect: async () => new StreamConduit(make()) };
        const { findings } = await tried(['10.1.2.3:80'], {}, { server, connector });
        assert.equal(findings[0]?.state, state, findings[0]?.detail);
      }
    });
  });

  it('does not call a destination open that ends at once', async () => {
    const ending: Connector = {
      connect: async () => {
        const conduit = new TestConduit();
        setTimeout(() => conduit.other.finish(), 10);
        return conduit;
      },
    };
    const { findings } = await tried(['10.1.2.3:80', '10.9.0.0/16'], {}, { connector: ending });
    assert.match(findings[0]?.detail ?? '', /opened, and ended at once/);
    assert.deepEqual(
      findings.map(({ state }) => state),
      ['warning', 'note'],
    );
    const greeting: Connector = {
      connect: async () => {
        const conduit = new TestConduit();
        setTimeout(() => {
          conduit.give('220 hello');
          conduit.other.finish();
        }, 10);
        return conduit;
      },
    };
    const open = await tried(['10.1.2.3:80'], {}, { connector: greeting });
    assert.equal(open.findings[0]?.state, 'ok');
  });

  it('ends with the signal', async () => {
    const stop = new AbortController();
    const running = tried(
      ['10.1.2.3:80'],
      { '10.1.2.3:80': 'silent' },
      { signal: stop.signal, patienceMs: 10_000 },
    );
    stop.abort(new Error('stopped'));
    await assert.rejects(running, /stopped/);
  });
});
