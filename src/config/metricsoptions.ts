/**
 * `--metrics`: where Prometheus reads the metrics of the run.
 *
 * A socket belongs to one user (0600). A port of loopback is open to all users of this machine, so
 * it shows no destinations (metrics/families.ts). Any other address would be open to the network.
 */
import { resolve } from 'node:path';
import { canonicalAddress, isAddress } from '../net/address.ts';
import { NotationError, quoted } from '../net/notation.ts';
import { readAt } from '../net/place.ts';
import { parsePort } from '../net/ports.ts';
import { parsePrefix, prefixContains } from '../net/prefix.ts';
import type { MetricsPlace } from './configuration.ts';
import { type GivenOptions, once, type Reader, readOptions } from './option.ts';

/** sun_path of unix(7), without the octet that ends it. */
const MAX_PATH_BYTES = 107;
const LOOPBACK = [parsePrefix('127.0.0.0/8').prefix, parsePrefix('::1').prefix];
const FORM = 'write a path with a slash, or ADDRESS:PORT, as in: --metrics 127.0.0.1:9470';

const readPlace: Reader<MetricsPlace> = (text, place) =>
  readAt(place, text, FORM, () => {
    const [, scheme] = /^(https?|tcp|unix|file):/i.exec(text) ?? [];
    if (scheme !== undefined) throw new NotationError(`${quoted(text)} is a URL`, FORM);
    return text.includes('/') ? socketAt(text) : portAt(text);
  });

export const METRICS_OPTIONS = {
  heading: 'Running:',
  options: {
    metrics: once(
      '--metrics <path|address:port>',
      'serve metrics for Prometheus on this socket, or on a port of loopback',
      readPlace,
    ),
  },
} as const;

/** undefined: there are none. Throws UsageError. */
export function readMetricsPlace(given: GivenOptions): MetricsPlace | undefined {
  return readOptions(METRICS_OPTIONS, given).metrics?.value;
}

function socketAt(text: string): MetricsPlace {
  const path = resolve(text);
  if (text.endsWith('/') || text.includes('\0'))
    throw new NotationError(`${quoted(text)} is no path of a socket`, FORM);
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new NotationError(
      `${quoted(path)} is longer than a socket's path may be: ${MAX_PATH_BYTES} bytes`,
      'choose a shorter one, as in: --metrics /run/tunnel/metrics.sock',
    );
  }
  return { kind: 'socket', path };
}

function portAt(text: string): MetricsPlace {
  const [, bracketed, plain, portText = ''] =
    /^(?:\[([^\]]*)\]|([^:[\]]+)):([0-9]+)$/.exec(text) ?? [];
  if (portText === '')
    throw new NotationError(`${quoted(text)} is neither a path nor a port`, FORM);
  const port = /^0+$/.test(portText) ? 0 : parsePort(portText);
  const name = bracketed ?? plain ?? '';
  const host = name === 'localhost' ? '127.0.0.1' : name;
  if (!isAddress(host)) throw new NotationError(`${quoted(name)} is not an address`, FORM);
  const { prefix } = parsePrefix(canonicalAddress(host));
  if (LOOPBACK.some((loopback) => prefixContains(loopback, prefix)))
    return { kind: 'port', host: canonicalAddress(host), port };
  throw new NotationError(
    `${name} is not a loopback address: anybody in the network could read the metrics`,
    'use a loopback address or a socket, and let an agent or a proxy with TLS pass them on',
  );
}
