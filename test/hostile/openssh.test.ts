import { OPENSSH_ROWS } from '../support/hostile/rows/openssh.ts';
import { describeRows } from '../support/hostile/suite.ts';

describeRows("the system's ssh", OPENSSH_ROWS);
