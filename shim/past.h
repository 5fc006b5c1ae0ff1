/*
 * Libraries that reach the driver past us: opened with RTLD_DEEPBIND they find it before they find this
 * one. Their calls are not seen and drain nothing; all that can be done is to say so.
 */
#pragma once

/* When the program ends: looks at where each library's references to the driver lead. */
void past_report(void);
