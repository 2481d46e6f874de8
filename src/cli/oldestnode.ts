/**
 * The oldest Node that this program runs with. npm installs it with any, and only warns; that of
 * Debian 12 and Ubuntu 24.04 is older.
 */

/** As `engines` of package.json has it. */
export const OLDEST_NODE = '20.19';

export function isTooOld(version = process.versions.node): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = OLDEST_NODE.split('.').map(Number);
  return major < oldestMajor || (major === oldestMajor && minor < oldestMinor);
}
