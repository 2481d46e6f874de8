/**
 * Version documents: what an OpenStack service answers at an address without version, and often at
 * one with. The forms differ by service and age: `{"versions": [...]}`, `{"versions": {"values":
 * [...]}}`, `{"version": {...}}`, or one version bare.
 */
import { field, listAt, parseJson, textAt } from './json.ts';

/** More versions than this no service has ever had. */
const MAX_VERSIONS = 64;

export interface Version {
  /** `v3.14`, `v2.0` */
  readonly id: string;
  /** http and https only, resolved against the document's own address. */
  readonly links: readonly URL[];
}

/** Empty where the text is no version document. */
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

/** Of a version's links only `self` is an address of the API; others lead to documentation. */
function linksOf(entry: unknown, base: URL): URL[] {
  return listAt(entry, 'links').flatMap((link) => {
    const href = textAt(link, 'href');
    if (textAt(link, 'rel') !== 'self' || href === undefined || !URL.canParse(href, base.href))
      return [];
    const url = new URL(href, base);
    return url.protocol === 'http:' || url.protocol === 'https:' ? [url] : [];
  });
}
