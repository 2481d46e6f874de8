/**
 * Has V8 compile the program, so that its next starts don't have to (programloader.ts). Run with
 * Node's options from the first line of main.cjs, when the program is built or installed:
 *
 *   node OPTIONS dist/program/precompile.cjs dist/program/run.cjs
 */
import { resolve } from 'node:path';
import { precompile } from './programloader.ts';

precompile(resolve(process.argv[2] ?? ''));
