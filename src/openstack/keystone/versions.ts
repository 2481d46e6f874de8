/**
 * Version documents: the answer of an OpenStack service at an address without a version, and often
 * at one with a version. The forms differ by service and age: `{"versions": [...]}`, `{"versions":
 * {"values": [...]}}`, `{"version": {...}}`, or a bare version.
 */
import { field, listAt, parseJson, textAt } from './json.ts';

/** No service has ever had more versions than this. */
const MAX_VERSIONS = 64;

export interface Version {
  /** `v3.14`, `v2.0` */
  readonly id: string;
  /** Only http and https, resolved against the document's own address. */
  readonly links: readonly URL[];
}

/** Empty if the text is not a version document. */
export function parseVersions(text: string, base: URL): Version[] {
  const document = parseJson(text);
  const lists = [listAt(document, 'versions'), listAt(document, 'versions', 'values')];
  const single = field(document, 'version') ?? document;
  const entries = [...lists.flat(), ...(textAt(single, 'id') === undefined ? [] : [single])];
  return entries.slice(0, MAX_VERSIONS).flatMap((entry) => {
    const id = textAt(entry, 'id');
    return id === undefined ? [] : [{ id, links: linksOf(entry, base) }];
  });
}

/** Only the link `self` of a version is an address of the API; others lead to documentation. */
function linksOf(entry: unknown, base: URL): URL[] {
  return listAt(entry, 'links').flatMap((link) => {
    const href = textAt(link, 'href');
    if (textAt(link, 'rel') !== 'self' || href === undefined || !URL.canParse(href, base.href))
      return [];
    const url = new URL(href, base);
    return url.protocol === 'http:' || url.protocol === 'https:' ? [url] : [];
  });
}
