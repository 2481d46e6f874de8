/** --metrics: paths and ports, and what is neither or would be open to the network. */
import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { describe, it } from 'node:test';
import { METRICS_OPTIONS, readMetricsPlace } from '../../../src/config/metricsoptions.ts';
import { UsageError } from '../../../src/errors/errors.ts';

const read = (text: string) =>
  readMetricsPlace(
    new Map([
      [METRICS_OPTIONS.options.metrics, [{ text, place: { kind: 'option', name: '--metrics' } }]],
    ]),
  );

describe('--metrics', () => {
  it('takes a path with a slash, or a port of loopback', () => {
    assert.deepEqual(read('./m.sock'), { kind: 'socket', path: resolve('m.sock') });
    assert.deepEqual(read('/run/m.sock'), { kind: 'socket', path: '/run/m.sock' });
    const port = (host: string, number: number) => ({ kind: 'port', host, port: number });
    assert.deepEqual(read('127.0.0.1:9470'), port('127.0.0.1', 9470));
    assert.deepEqual(read('localhost:0'), port('127.0.0.1', 0));
    assert.deepEqual(read('127.9.9.9:80'), port('127.9.9.9', 80));
    assert.deepEqual(read('[0:0::1]:80'), port('::1', 80));
    assert.equal(readMetricsPlace(new Map()), undefined);
  });

  it('refuses the rest with a hint', () => {
    const refusals: readonly (readonly [string, RegExp])[] = [
      ['', /neither a path nor a port/],
      ['http://127.0.0.1:9470/metrics', /is a URL/],
      ['unix:/run/metrics.sock', /is a URL/],
      ['9470', /neither a path nor a port/],
      ['metrics.sock', /neither a path nor a port/],
      ['0.0.0.0:9470', /0\.0\.0\.0 is not a loopback address/],
      ['[::]:9470', /:: is not a loopback address/],
      ['10.0.0.1:9470', /10\.0\.0\.1 is not a loopback address/],
      ['host:9470', /not an address/],
      ['127.0.0.1:65536', /not a port number/],
      ['/run/', /no path of a socket/],
      [`/${'x'.repeat(107)}`, /longer than a socket's path may be/],
    ];
    for (const [text, why] of refusals) {
      assert.throws(
        () => read(text),
        (error) =>
          error instanceof UsageError && why.test(error.message) && error.hint !== undefined,
        text,
      );
    }
  });
});
