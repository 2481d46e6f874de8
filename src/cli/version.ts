/** Which version this is. */
import { readFileSync } from 'node:fs';

/** From dist/src/cli/. */
const MANIFEST = new URL('../../../package.json', import.meta.url);

/** Of the package. */
export function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(MANIFEST, 'utf8'));
  const found =
    typeof manifest === 'object' && manifest !== null && 'version' in manifest
      ? manifest.version
      : '';
  return String(found);
}
