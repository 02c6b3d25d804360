/* SPDX-License-Identifier: Apache-2.0 */
/* The shortest program. */
int main(void)
{
	return 0;
}
