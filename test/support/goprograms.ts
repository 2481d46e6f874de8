/**
 * The tests' Go programs, one in each folder of go/. `./scripts/test all` compiles them before any
 * test runs (scripts/lib/go.sh), so that no test's time limit covers a cold compiler.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export type GoProgram =
  | 'dial'
  | 'fetch'
  | 'gliderserver'
  | 'gophercloud'
  | 'lookup'
  | 'terraform-provider-external'
  | 'terraform-provider-openstack'
  | 'tofu'
  | 'wishserver'
  | 'workspaceproxy'
  | 'xcryptoserver';

/** The program's path, once it is built. */
export function goProgram(name: GoProgram): string {
  return fileURLToPath(new URL(`../../go/${name}`, import.meta.url));
}

/** For `test(name, { skip: goProgramMissing('fetch') }, ...)`: false, or how to get the program. */
export function goProgramMissing(name: GoProgram): string | false {
  return !existsSync(goProgram(name)) && `the Go program ${name} isn't built: ./scripts/test all`;
}
