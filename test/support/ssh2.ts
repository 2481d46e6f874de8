/**
 * All of ssh2, for tests that need a server or a client of it: with what this program has put into
 * it, which must be loaded first.
 */
import '../../src/ssh/embedded/ssh2/library.ts';

export { default } from 'ssh2';
