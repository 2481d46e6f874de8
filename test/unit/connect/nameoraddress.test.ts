/** Destinations in both forms: what is tried, what is remembered, what is not. */
import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import {
  MAX_FORMS,
  MAX_REMEMBERED,
  NameOrAddressConnector,
  type NameOrAddressOptions,
  REMEMBERED_MS,
} from '../../../src/connect/nameoraddress.ts';
import { ConnectError } from '../../../src/flow/connector.ts';
import { StreamConduit } from '../../../src/flow/streamconduit.ts';
import { type Destination, formatDestination } from '../../../src/net/destination.ts';
import type { Refusal } from '../../../src/net/refusal.ts';
import { silentObserver } from '../../../src/observe/observer.ts';

/** A server that permits some hosts; `failing` ones answer otherwise. */
function setUp(permitted: readonly string[], options: Partial<NameOrAddressOptions> = {}) {
  const asked: string[] = [];
  const counted: string[] = [];
  const failing = new Map<string, Refusal>();
  let now = 0;
  const forms = new NameOrAddressConnector({
    connector: {
      async connect(destination: Destination) {
        asked.push(destination.host);
        const refusal = failing.get(destination.host);
        if (refusal !== undefined) throw new ConnectError(refusal, formatDestination(destination));
        if (!permitted.includes(destination.host))
          throw new ConnectError('prohibited', formatDestination(destination));
        return new StreamConduit(new Duplex({ read() {} }));
      },
    },
    otherForms: async ({ host }) =>
      host === 'a.example' ? ['10.0.0.1', '2001:db8::1'] : ['a.example'],
    observer: { ...silentObserver, count: (name) => void counted.push(name) },
    clock: () => now,
    ...options,
  });
  return {
    forms,
    asked,
    counted,
    failing,
    wait: (ms: number) => {
      now += ms;
    },
    /** The hosts that were asked for on behalf of one connection. */
    async connect(host: string): Promise<readonly string[]> {
      asked.length = 0;
      await forms.connect({ host, port: 443 });
      return [...asked];
    },
  };
}

describe('both forms of a destination', () => {
  it('what is permitted is opened as it is asked for', async () => {
    const { connect } = setUp(['a.example', '10.0.0.1']);
    assert.deepEqual(await connect('a.example'), ['a.example']);
    assert.deepEqual(await connect('10.0.0.1'), ['10.0.0.1']);
  });

  it('a name that is prohibited is opened by address, an address by name, and so the next time at once', async () => {
    const byAddress = setUp(['2001:db8::1']);
    assert.deepEqual(await byAddress.connect('a.example'), [
      'a.example',
      '10.0.0.1',
      '2001:db8::1',
    ]);
    assert.deepEqual(await byAddress.connect('a.example'), ['2001:db8::1']);
    const byName = setUp(['a.example']);
    assert.deepEqual(await byName.connect('10.0.0.1'), ['10.0.0.1', 'a.example']);
    assert.deepEqual(await byName.connect('10.0.0.1'), ['a.example']);
  });

  it('a form that the rules exclude is not tried', async () => {
    const permitted = ['10.0.0.1', '2001:db8::1'];
    const { connect, asked } = setUp(permitted, {
      mayOpen: ({ host, port }) => host !== '10.0.0.1' && port === 443,
    });
    assert.deepEqual(await connect('a.example'), ['a.example', '2001:db8::1']);
    const none = setUp(permitted, { mayOpen: () => false });
    await assert.rejects(none.connect('a.example'), { refusal: 'prohibited' });
    assert.deepEqual(none.asked, ['a.example']);
    assert.ok(!asked.includes('10.0.0.1'));
  });

  it('the form of the target goes first, what was asked for next', async () => {
    const named = { targetForm: () => 'a.example' };
    assert.deepEqual(await setUp(['a.example'], named).connect('10.0.0.9'), ['a.example']);
    assert.deepEqual(await setUp(['10.0.0.9'], named).connect('10.0.0.9'), [
      'a.example',
      '10.0.0.9',
    ]);
  });

  it('a working form is forgotten when it fails, and after a while', async () => {
    const { connect, failing, forms, asked, wait } = setUp(['10.0.0.1']);
    await connect('a.example');
    failing.set('10.0.0.1', 'refused');
    await assert.rejects(forms.connect({ host: 'a.example', port: 443 }), { refusal: 'refused' });
    failing.clear();
    assert.deepEqual(await connect('a.example'), ['a.example', '10.0.0.1']);
    wait(REMEMBERED_MS);
    assert.deepEqual(await connect('a.example'), ['a.example', '10.0.0.1']);
    asked.length = 0;
  });

  for (const refusal of ['refused', 'unreachable', 'timeout'] as const) {
    it(`"${refusal}" is the answer for both forms`, async () => {
      const { forms, failing, asked } = setUp(['10.0.0.1']);
      failing.set('a.example', refusal);
      await assert.rejects(forms.connect({ host: 'a.example', port: 443 }), { refusal });
      assert.deepEqual(asked, ['a.example']);
    });
  }

  it('where all are prohibited, the first one is the answer, and few are tried', async () => {
    const many = Array.from({ length: 20 }, (_, i) => `10.0.0.${i}`);
    const { forms, asked, counted } = setUp([], { otherForms: async () => many });
    const rejected = forms.connect({ host: 'a.example', port: 443 });
    await assert.rejects(rejected, { refusal: 'prohibited', message: 'a.example:443' });
    assert.equal(asked.length, 1 + MAX_FORMS);
    assert.ok(counted.includes('tunnel_other_forms_over_limit_total'));
  });

  it('a look-up that fails leaves the answer as it is; one that is given up ends it', async () => {
    const failing = setUp([], { otherForms: () => Promise.reject(new Error('no resolver')) });
    await assert.rejects(failing.forms.connect({ host: 'a.example', port: 443 }), {
      refusal: 'prohibited',
    });
    const controller = new AbortController();
    const aborted = setUp([], {
      otherForms: () => {
        controller.abort(new Error('gave up'));
        return Promise.reject(controller.signal.reason);
      },
    });
    const { signal } = controller;
    await assert.rejects(
      aborted.forms.connect({ host: 'a.example', port: 443 }, { signal }),
      /gave up/,
    );
  });

  it('no more destinations are remembered than are bounded', async () => {
    const { connect, counted } = setUp(['x'], { otherForms: async () => ['x'] });
    for (let i = 0; i <= MAX_REMEMBERED; i++) await connect(`host${i}.example`);
    assert.equal(counted.filter((name) => name === 'tunnel_other_forms_forgotten_total').length, 1);
    assert.deepEqual(await connect('host1.example'), ['x']);
    assert.deepEqual(await connect('host0.example'), ['host0.example', 'x']);
  });
});
