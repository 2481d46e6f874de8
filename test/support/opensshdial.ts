/**
 * A process that dials through the system's ssh with the options in OPENSSH_OPTIONS (JSON), reports
 * that, and waits to be killed.
 */
import { silentObserver } from '../../src/observe/observer.ts';
import { dialOpenssh } from '../../src/ssh/openssh/dial.ts';
import type { OpensshOptions } from '../../src/ssh/openssh/options.ts';

const options = JSON.parse(process.env['OPENSSH_OPTIONS'] ?? '') as OpensshOptions;
await dialOpenssh({ ...options, observer: silentObserver });
process.send?.('up');
process.stdout.write('up\n');
