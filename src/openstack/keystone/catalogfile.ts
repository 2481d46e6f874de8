/**
 * A catalog that the user has as a file, for when nobody can ask Keystone: before there is a jump
 * host, or where the credentials are on another machine.
 *
 *   openstack catalog list -f json   [{"Name", "Type", "Endpoints": [{"interface", "url", ...}]}]
 *   the same, of older clients       [{"Name", "Type", "Endpoints": "RegionOne\n  public: URL\n"}]
 *   GET /v3/auth/catalog             {"catalog": [{"name", "type", "endpoints": [...]}]}
 *   POST /v3/auth/tokens             {"token": {"catalog": [...]}}
 *
 * Nothing else of the file is used: a token's user, project and roles are ignored.
 */
import { closeSync, openSync } from 'node:fs';
import { readAtMost } from '../../base/boundedread.ts';
import { TunnelError } from '../../errors/errors.ts';
import { fileHintOf, fileReasonOf } from '../../errors/reason.ts';
import { fileName } from '../../net/place.ts';
import { type CatalogEndpoint, parseCatalog } from './catalog.ts';
import { MAX_ANSWER_BYTES } from './http.ts';
import { field, parseJson } from './json.ts';

const STDIN_FD = 0;
const HINT = 'write one with: openstack catalog list -f json >FILE';

export interface FiledCatalog {
  /** For messages. */
  readonly file: string;
  /** At least one. */
  readonly endpoints: readonly CatalogEndpoint[];
  /** How many entries could not be used. */
  readonly unusable: number;
}

/**
 * Reads the file; `-` is standard input. Throws TunnelError `openstack-config` when it can't be
 * read, is larger than an answer of Keystone may be, or has no endpoint in any of these forms.
 */
export function readCatalogFile(path: string): FiledCatalog {
  const file = fileName(path);
  const document = parseJson(readText(path, file));
  if (document === undefined) throw wrong(`${file} is not JSON`);
  const { endpoints, unusable } = parseCatalog(servicesOf(document).map(serviceOf));
  if (endpoints.length === 0) throw wrong(`${file} has no endpoint of a service in it`);
  return { file, endpoints, unusable };
}

function servicesOf(document: unknown): readonly unknown[] {
  const found = [document, field(document, 'catalog'), field(document, 'token', 'catalog')].find(
    (value) => Array.isArray(value),
  );
  return Array.isArray(found) ? found : [];
}

/** The columns of the client are Keystone's keys in upper case. */
function serviceOf(service: unknown): object {
  const value = (key: string, column: string) => field(service, key) ?? field(service, column);
  const endpoints = value('endpoints', 'Endpoints');
  return {
    type: value('type', 'Type'),
    name: value('name', 'Name'),
    endpoints: typeof endpoints === 'string' ? endpointsOf(endpoints) : endpoints,
  };
}

/** Lines `REGION`, or `<none>`, each with its endpoints below it: `  public: URL`. */
function endpointsOf(text: string): object[] {
  let region: string | undefined;
  const endpoints: object[] = [];
  for (const line of text.split('\n')) {
    const [, which, url] = /^\s+(\w+): (\S+)\s*$/.exec(line) ?? [];
    if (which !== undefined) endpoints.push({ interface: which, url, region });
    else if (line.trim() !== '') region = line.trim() === '<none>' ? undefined : line.trim();
  }
  return endpoints;
}

function readText(path: string, file: string): string {
  let fd: number | undefined;
  try {
    fd = path === '-' ? STDIN_FD : openSync(path, 'r');
    const bytes = readAtMost(fd, MAX_ANSWER_BYTES);
    if (bytes !== undefined) return bytes.toString('utf8');
  } catch (cause) {
    throw new TunnelError(
      'openstack-config',
      `--os-catalog-file: ${file} can't be read: ${fileReasonOf(cause)}`,
      {
        hint: fileHintOf(file),
        cause,
      },
    );
  } finally {
    if (fd !== undefined && fd !== STDIN_FD) closeSync(fd);
  }
  throw wrong(`${file} is larger than ${MAX_ANSWER_BYTES >> 20} MiB`);
}

function wrong(what: string): TunnelError {
  return new TunnelError('openstack-config', `--os-catalog-file: ${what}`, { hint: HINT });
}
